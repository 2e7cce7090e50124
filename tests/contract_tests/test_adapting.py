"""Generated data are adapted to rules that no schema expresses: valid data are accepted, invalid data stay invalid."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator

from contract_tests import adapting
from contract_tests.adapting import EVENT, SYNC, adapt_call
from contract_tests.target import CheckTarget, SubscriptionIdentity
from tests.test_guards import create_validator

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
OTHER = "650E8400-e29b-41d4-a716-446655440000"
QUEUED, ATTACKED = SubscriptionIdentity(1, 66_600, 202), SubscriptionIdentity(1, 66_601, 202)
SCHEMAS: dict[str, OAS30Validator] = {
    SYNC: create_validator("subscriptions", "/components/schemas/SyncRequest"),
    EVENT: create_validator("subscriptions", "/components/schemas/Event"),
}
ENTRY = {"orgType": 5, "orgCode": 3, "entityType": 6, "webhookUrl": "/a", "startDato": "2024-02-30T00:00:00"}
GOOD: dict[str, dict[str, Any]] = {
    SYNC: {"systemIdentifier": OTHER, "abonnementer": [ENTRY]},
    EVENT: {"entityType": 6, "orgType": 1, "orgCode": 2, "aendringstype": 1, "beskedId": OTHER, "body": {"a": "\0"}},
}


@pytest.fixture(autouse=True, scope="module")
def _target() -> Iterator[None]:
    before = adapting._target
    target = CheckTarget("http://127.0.0.1", allowed=((1, 202), (2, 203))).with_one_system(SYSTEM, QUEUED, ATTACKED)
    adapting.set_target(target)
    yield
    adapting.set_target(before)


def fit_body(path: str, body: Any) -> Any:
    body = copy.deepcopy(body)
    adapt_call(path, {}, body)
    return body


def test_valid_set_is_adapted_to_allowed_subscriptions() -> None:
    body = fit_body(SYNC, GOOD[SYNC])
    assert body["systemIdentifier"] == SYSTEM
    first, *stay = body["abonnementer"]
    assert (first["orgType"], first["entityType"]) in {(1, 202), (2, 203)}
    assert first["startDato"] == "2023-01-01T00:00:00"
    assert stay == [adapting.permanent_entry(QUEUED), adapting.permanent_entry(ATTACKED)]


def test_event_gets_an_id_of_its_content_and_a_known_type() -> None:
    first, second = fit_body(EVENT, GOOD[EVENT]), fit_body(EVENT, GOOD[EVENT] | {"aendringstype": 2})
    assert first["entityType"] in {202, 203}
    assert first["body"] == {"a": ""}
    assert first == fit_body(EVENT, GOOD[EVENT])
    assert first["beskedId"] != second["beskedId"]


@pytest.mark.parametrize("path", GOOD)
def test_adapted_valid_data_are_valid(path: str) -> None:
    assert SCHEMAS[path].is_valid(fit_body(path, GOOD[path]))


bad_values = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=40),
    st.integers(),
    st.floats(allow_nan=False),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(
        ["2024-13-01T00:00:00", "2024-01-01", "2024-01-01T24:00:00", "3000-01-01T00:00:00", -1, 2**31, 1.0]
    ),
)


@settings(max_examples=600, deadline=None, database=None, derandomize=True)
@given(path=st.sampled_from(sorted(GOOD)), data=st.data())
def test_invalid_data_stay_invalid(path: str, data: st.DataObject) -> None:
    body = copy.deepcopy(GOOD[path])
    part = data.draw(st.sampled_from([body, *body.get("abonnementer", [])]))
    part[data.draw(st.sampled_from([*part, "more"]))] = data.draw(bad_values)
    if not SCHEMAS[path].is_valid(body):
        assert not SCHEMAS[path].is_valid(fit_body(path, body))


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(path=st.sampled_from(sorted(GOOD)), body=bad_values)
def test_other_types_are_unchanged(path: str, body: Any) -> None:
    if not isinstance(body, dict):
        assert fit_body(path, body) == body
