"""The numbers of the error lists: each is in the contract, and has one text."""

import re
from typing import get_args

import pytest

from budkavle.specs import find_spec_dir
from domain.subscriptions import ErrorCode
from handlers.errors.error_list_texts import _RULES, _UNREADABLE, build_violation
from handlers.errors.error_lists import _KIND
from openapi.application import read_spec
from openapi.errors.faults import Fault, Reason
from tests.handlers.errors.patterns import find_paths_with_a_pattern

PATTERNS = find_paths_with_a_pattern("subscriptions")


def test_each_error_code_has_a_text() -> None:
    of_calls = {code for code, _ in _KIND.values()}
    assert of_calls | set(_RULES) == set(ErrorCode), (
        "add the text of a rule to handlers/errors/error_list_texts.py: _RULES, that of a call to error_lists.py: _KIND"
    )
    assert of_calls.isdisjoint(_RULES)


def test_each_error_code_is_in_the_contract() -> None:
    schemas = read_spec(find_spec_dir(), "subscriptions")["components"]["schemas"]
    found = {
        name: schema["properties"]["errorCode"]
        for name, schema in schemas.items()
        if "errorCode" in schema.get("properties", {})
    }
    codes = sorted(map(int, ErrorCode))
    assert [code for schema in found.values() for code in schema["enum"]] == codes, (
        "enums of errorCode in spec/subscriptions.yaml"
    )
    for name, schema in found.items():
        described = {int(number) for number in re.findall(r"\d+", schema["description"])}
        assert described >= set(schema["enum"]), f"description of {name}.errorCode in spec/subscriptions.yaml"


@pytest.mark.parametrize("path", PATTERNS.values(), ids=PATTERNS)
def test_each_pattern_has_a_text(path: list[str | int]) -> None:
    """The general text does not help a caller."""
    found = build_violation(Fault(path, "pattern", value="x"))
    assert found is None or "den rigtige form" not in found.message, (
        f"add the text of {path} to handlers/errors/error_list_texts.py: _PATTERNS"
    )


def test_each_reason_for_an_unreadable_body_has_a_text() -> None:
    assert set(_UNREADABLE) == set(get_args(Reason))
