"""Schemas of a contract as validators, and what they say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from handlers import problem_texts
from handlers.schemas import Schema
from tests.factories import case_body, message_body

SPEC = yaml.safe_load((Path(__file__).parents[2] / "spec" / "web-messages.yaml").read_text())
COMPONENTS = SPEC["components"]


def faults(schema: dict[str, Any], value: Any, prefix: str = "") -> list[tuple[str, str]]:
    violations = Schema(schema, {"schemas": {}}, problem_texts.violation).violations(value, prefix)
    return sorted((violation.field, violation.message) for violation in violations)


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string"}, 1, "must be a string"),
        ({"type": "string"}, None, "must be a string"),
        ({"type": "string", "nullable": True}, 1, "must be a string"),
        ({"type": "integer"}, 1.5, "must be an integer"),
        ({"type": "integer"}, True, "must be an integer"),
        ({"type": "number"}, "1", "must be a number"),
        ({"type": "boolean"}, 0, "must be a boolean"),
        ({"type": "array", "items": {}}, {}, "must be an array"),
        ({"type": "object"}, [], "must be an object"),
        ({"enum": ["a", "b"]}, "c", "must be one of a, b"),
        ({"type": "string", "minLength": 2}, "😀", "size must be at least 2"),
        ({"type": "string", "maxLength": 1}, "😀😀", "size must be at most 1"),
        ({"type": "array", "items": {}, "minItems": 1}, [], "size must be at least 1"),
        ({"type": "array", "items": {}, "maxItems": 0}, [1], "size must be at most 0"),
        ({"type": "integer", "minimum": 1}, 0, "must be at least 1"),
        ({"type": "integer", "maximum": 1}, 2, "must be at most 1"),
        ({"type": "integer", "maximum": 1}, 10**4000, "must be at most 1"),
        ({"type": "string", "pattern": "^a$"}, "a\n", "does not have the form that the contract asks for"),
        ({"not": {"type": "string"}}, "a", "does not fit the contract"),
    ],
)
def test_schema_says_what_is_wrong(schema: dict[str, Any], value: Any, message: str) -> None:
    assert faults(schema, value) == [("body", message)]
    schema = {"type": "object", "properties": {"inner": {"type": "array", "items": schema}}}
    assert faults(schema, {"inner": [value]}, "op.") == [("op.inner[0]", message)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "nullable": True}, None),
        ({"type": "string", "nullable": True, "enum": ["a", None]}, None),
        ({"type": "object", "nullable": True, "required": ["a"]}, None),
        ({"type": "integer"}, 10**400),
        ({"type": "string", "maxLength": 2}, "😀😀"),
        ({"type": "string", "format": "uuid"}, "no uuid: patterns say that"),
    ],
)
def test_schema_takes_what_fits(schema: dict[str, Any], value: Any) -> None:
    assert faults(schema, value) == []


def test_schema_names_every_unknown_and_every_missing_property() -> None:
    schema = {"type": "object", "required": ["a", "b"], "properties": {"a": {}, "b": {}}, "additionalProperties": False}
    assert faults(schema, {"c": 1, "d": 1}) == [
        ("a", "is required"),
        ("b", "is required"),
        ("c", "not a property of this object"),
        ("d", "not a property of this object"),
    ]


def create_request(value: Any) -> list[tuple[str, str]]:
    schema = Schema({"$ref": "#/components/schemas/CreateWebMessageRequest"}, COMPONENTS, problem_texts.violation)
    return sorted({(violation.field, violation.message) for violation in schema.violations(value)})


@pytest.mark.parametrize("body", [message_body(), case_body(), message_body(sender={}, attachments=[])])
def test_the_schema_of_a_new_message_takes_messages(body: dict[str, Any]) -> None:
    assert create_request(body) == []


def test_the_schema_of_a_new_message_says_an_empty_property_name_too() -> None:
    ((field, message),) = create_request(message_body() | {"": 1})
    assert message == "not a property of this object"
    assert field


@pytest.mark.parametrize(
    "blank",
    [" ", "\t", "\n", "\r", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"],
)
def test_the_schema_of_a_new_message_knows_every_white_space(blank: str) -> None:
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
def test_the_schema_of_a_reference_knows_cases_in_every_spelling(key: str, value: str, is_case: bool) -> None:
    found = create_request(message_body(externalReferences=[{"key": key, "value": value}]))
    assert (found == []) == is_case
    assert create_request(message_body(externalReferences=[{"key": key + "x", "value": value or "x"}])) == []


def test_the_schema_of_a_case_agrees_with_arithmetic_around_every_power_of_ten() -> None:
    edges = {10**power + step for power in range(11) for step in (-1, 0, 1)}
    edges |= {2147483647 + step for step in range(-50, 51)}
    edges |= {int(str(2147483647)[:digits] + "9" * (10 - digits)) for digits in range(1, 11)}
    edges |= {int(str(2147483647)[:digits] + "0" * (10 - digits)) for digits in range(1, 11)}
    for number in sorted(edges):
        found = create_request(message_body(externalReferences=[{"key": "flowInstanceId", "value": str(number)}]))
        assert (found == []) == (1 <= number <= 2147483647), number
