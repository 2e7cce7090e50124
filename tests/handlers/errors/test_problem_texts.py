"""The texts of problems of the web messages."""

from typing import Any

import pytest

from budkavle.specs import find_spec_dir
from handlers.errors import problem_texts
from openapi.application import read_spec
from openapi.errors.faults import Fault
from openapi.schemas import Schema
from tests.factories import build_case_body, build_message_body
from tests.handlers.errors.patterns import find_paths_with_a_pattern

PATTERNS = find_paths_with_a_pattern("web-messages")
COMPONENTS = read_spec(find_spec_dir(), "web-messages")["components"]


def create_request(value: Any) -> list[tuple[str, str]]:
    schema = Schema({"$ref": "#/components/schemas/CreateWebMessageRequest"}, COMPONENTS, problem_texts.build_violation)
    return sorted({(violation.field, violation.message) for violation in schema.find_violations(value)})


@pytest.mark.parametrize("path", PATTERNS.values(), ids=PATTERNS)
def test_each_pattern_has_a_text(path: list[str | int]) -> None:
    """The general text does not help a caller."""
    found = problem_texts.build_violation(Fault(path, "pattern", value="x"))
    assert found is None or "match the pattern in the contract" not in found.message, (
        f"add the texts of {path} to handlers/errors/problem_texts.py: _TEXTS"
    )


@pytest.mark.parametrize(
    "body", [build_message_body(), build_case_body(), build_message_body(sender={}, attachments=[])]
)
def test_schema_of_a_new_message_accepts_messages(body: dict[str, Any]) -> None:
    assert create_request(body) == []


def test_schema_of_a_new_message_reports_an_empty_property_name() -> None:
    ((field, message),) = create_request(build_message_body() | {"": 1})
    assert message == "not a property of this object"
    assert field


@pytest.mark.parametrize(
    "blank",
    [" ", "\t", "\n", "\r", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"],
)
def test_schema_of_a_new_message_recognises_all_white_space(blank: str) -> None:
    text = blank * 3
    assert create_request(
        {
            "message": text,
            "externalReferences": [{"key": text, "value": text}],
            "sender": {"userId": text},
            "attachments": [{"fileName": text, "base64Data": "YQ=="}],
        }
    ) == [
        ("attachments[0].fileName", "must not be blank"),
        ("externalReferences", "can not be empty or contain elements with empty keys or values"),
        ("message", "must not be blank"),
        ("sender.userId", "must not be blank"),
    ]


@pytest.mark.parametrize("key", ["flowInstanceId", "FLOWINSTANCEID", "flowinstanceid"])
@pytest.mark.parametrize(
    ("value", "is_case"),
    [("1", True), ("2147483647", True), ("2147483648", False), ("0", False), ("", False), ("1a", False), ("٣", False)],
)
def test_schema_of_a_reference_recognises_cases_in_every_spelling(key: str, value: str, is_case: bool) -> None:
    found = create_request(build_message_body(externalReferences=[{"key": key, "value": value}]))
    assert (found == []) == is_case
    assert create_request(build_message_body(externalReferences=[{"key": key + "x", "value": value or "x"}])) == []


def test_schema_of_a_case_agrees_with_arithmetic_around_every_power_of_ten() -> None:
    edges = {10**power + step for power in range(11) for step in (-1, 0, 1)}
    edges |= {2147483647 + step for step in range(-50, 51)}
    edges |= {int(str(2147483647)[:digits] + "9" * (10 - digits)) for digits in range(1, 11)}
    edges |= {int(str(2147483647)[:digits] + "0" * (10 - digits)) for digits in range(1, 11)}
    for number in sorted(edges):
        found = create_request(build_message_body(externalReferences=[{"key": "flowInstanceId", "value": str(number)}]))
        assert (found == []) == (1 <= number <= 2147483647), number
