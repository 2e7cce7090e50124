"""Assertions about the problems of the compatibility APIs, whose `status` is an integer."""

from collections.abc import Iterable
from typing import Any

import requests

from contract_tests.rules.answers import PROBLEM, describe_response, expect, media_type

NO_MUNICIPALITY = "not a valid municipality ID"


def expect_problem(response: requests.Response, status: int, title: str) -> dict[str, Any]:
    """Return the problem in a response, after asserting its form: `status` is an integer."""
    expect(response, status)
    assert media_type(response) == PROBLEM, f"an error must be a problem, but {describe_response(response)}"
    value: dict[str, Any] = response.json()
    assert value.get("status") == status, f"status must be the integer {status}, but {describe_response(response)}"
    assert value.get("title") == title, f"the title must be {title!r}, but {describe_response(response)}"
    return value


def expect_violations(response: requests.Response, wanted: Iterable[tuple[str, str]]) -> None:
    """Assert that a response has exactly these violations, each a field and its text, in the order of the fields."""
    violations = expect_problem(response, 400, "Constraint Violation").get("violations", [])
    found = [(each["field"], each["message"]) for each in violations]
    assert found == sorted(wanted), f"expected {sorted(wanted)}, but {describe_response(response)}"
