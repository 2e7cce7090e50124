"""The numbers of the error lists: each is in the contract, and has one text."""

from typing import get_args

from budkavle.specs import spec_dir
from domain.subscriptions import ErrorCode
from handlers.errors.error_list_texts import _RULES, _UNREADABLE
from handlers.errors.error_lists import _KIND
from openapi.application import read_spec
from openapi.errors.faults import Reason


def test_each_error_code_has_a_text() -> None:
    of_calls = {code for code, _ in _KIND.values()}
    assert of_calls | set(_RULES) == set(ErrorCode)
    assert of_calls.isdisjoint(_RULES)


def test_each_error_code_is_in_the_contract() -> None:
    schemas = read_spec(spec_dir(), "subscriptions")["components"]["schemas"]
    documented = [
        schema["properties"]["errorCode"]["enum"]
        for schema in schemas.values()
        if "errorCode" in schema.get("properties", {})
    ]
    assert documented == [sorted(ErrorCode)]


def test_each_reason_for_an_unreadable_body_has_a_text() -> None:
    assert set(_UNREADABLE) == set(get_args(Reason))
