"""The status of an event: how many of its messages have been delivered, wait or are parked.

A worker may deliver at any moment, and other systems of the target may subscribe to the same event.
"""

from typing import Any

import pytest

from contract_tests.api import EVENT, TEST, Api
from contract_tests.rules.answers import describe_response, expect, expect_errors, expect_other_methods
from contract_tests.rules.events import deliveries_to, new_event_id, publish
from contract_tests.rules.subscription_sets import NOT_VALID, entries

pytestmark = pytest.mark.needs("publisher", "allowed")

NO_EVENT = 150106
NAMES = {"beskedId", "leveret", "venter", "parkeret", "pauseret"}
UNKNOWN_ID = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"


def read_status(api: Api, event_id: str) -> dict[str, Any]:
    status: dict[str, Any] = expect(api.event_status(event_id), 200).json()
    return status


def count_all(status: dict[str, Any]) -> int:
    total: int = status["leveret"] + status["venter"] + status["parkeret"]
    return total


def test_status_has_the_fields_of_the_contract(api: Api) -> None:
    accepted = publish(api, api.entry(), identifikationstypeId=2, identifikation="x", body={"a": 1})
    status = read_status(api, accepted["beskedId"])
    assert set(status) == NAMES, status
    assert status["beskedId"] == accepted["beskedId"], status
    assert count_all(status) == accepted["abonnementer"], f"{status} after {accepted}"
    assert 0 <= status["pauseret"] <= status["venter"], f"paused messages are part of the waiting ones: {status}"


@pytest.mark.needs("certificate", "system")
def test_status_counts_each_message_once(own_set: Api) -> None:
    """A message is counted in one state, while it is delivered too. Delivered messages remain delivered."""
    entry, other = entries(own_set, 2)
    own_set.subscribe(entry, other)
    accepted = publish(own_set, entry)
    delivered = 0
    for _ in range(5):
        before = {item["leveringId"] for item in deliveries_to(own_set, entry, status="parkeret")}
        receipts = own_set.receipts(beskedId=accepted["beskedId"])
        status = read_status(own_set, accepted["beskedId"])
        after = {item["leveringId"] for item in deliveries_to(own_set, entry, status="venter")}
        assert count_all(status) == accepted["abonnementer"], f"each message must be counted once: {status}"
        assert status["leveret"] >= max(delivered, len(receipts)), f"a delivered message is not counted: {status}"
        assert status["venter"] >= len(after), f"a waiting message is not counted: {status}"
        assert status["parkeret"] >= len(before), f"a parked message is not counted: {status}"
        delivered = status["leveret"]


@pytest.mark.needs("certificate", "system")
def test_repeated_event_is_not_counted_twice(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    event = own_set.event(entry, beskedId=new_event_id(own_set))
    accepted = expect(own_set.publish(event), 202).json()
    expect(own_set.publish(event), 200)
    status = read_status(own_set, accepted["beskedId"])
    assert count_all(status) == accepted["abonnementer"], f"a repeated event must not be counted again: {status}"


@pytest.mark.needs("certificate", "system")
def test_removed_messages_are_not_counted(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    accepted = publish(own_set, entry)
    own_set.subscribe()
    status = read_status(own_set, accepted["beskedId"])
    assert status["venter"] + status["parkeret"] < accepted["abonnementer"], (
        f"a message that was removed with its subscription must not be counted: {status}"
    )


@pytest.mark.needs("certificate", "system")
def test_test_message_is_counted(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    identity = {name: entry[name] for name in ("orgType", "orgCode", "entityType")}
    body = {"systemIdentifier": own_set.target.system, **identity}
    event_id = expect(own_set.call("POST", TEST, body=body), 202).json()["beskedId"]
    status = read_status(own_set, event_id)
    assert count_all(status) == 1, f"a test message is one message, but got {status}"


def test_event_is_found_by_its_id_in_any_case(api: Api) -> None:
    id_ = new_event_id(api)
    publish(api, api.entry(), beskedId=id_)
    response = expect(api.event_status(id_.upper()), 200)
    assert response.json()["beskedId"] == id_, f"ids must be returned in lower case, but {describe_response(response)}"


def test_unknown_event_is_not_found(api: Api) -> None:
    (error,) = expect_errors(api.event_status(new_event_id(api)), 404, (None, None, NO_EVENT))
    assert error["message"] == "Der findes ingen besked med den angivne beskedId, som du har adgang til", error


@pytest.mark.parametrize("id_", ["x", "0" * 32, f"%7B{UNKNOWN_ID}%7D", f"{UNKNOWN_ID}%0A"])
def test_invalid_event_id_is_reported(id_: str, api: Api) -> None:
    expect_errors(api.event_status(id_), 400, (None, "beskedId", NOT_VALID))


def test_unknown_parameter_of_a_status_is_reported(api: Api) -> None:
    expect_errors(api.event_status("x", query={"y": 1}), 400, (None, "beskedId", NOT_VALID), (None, "y", NOT_VALID))


@pytest.mark.parametrize("key", [None, "", "unknown-key"])
def test_status_requires_a_known_key(key: str | None, api: Api) -> None:
    headers = {} if key is None else {"apikey": key}
    for id_ in (UNKNOWN_ID, "x"):
        response = api.event_status(id_, headers=headers, caller="anonymous")
        expect_errors(response, 401, (None, None, 1012))
        assert "WWW-Authenticate" in response.headers, "a 401 must name the expected credentials in WWW-Authenticate"


@pytest.mark.needs("other_key")
def test_key_of_another_scope_reads_no_status(api: Api) -> None:
    for id_ in (UNKNOWN_ID, "x"):
        expect_errors(api.event_status(id_, caller="sender"), 403, (None, None, 1013))


@pytest.mark.needs("certificate")
def test_certificate_of_a_system_reads_no_status(api: Api) -> None:
    expect_errors(api.event_status(UNKNOWN_ID, caller="system"), 401, (None, None, 1012))


def test_unsupported_method_of_a_status_is_refused(api: Api) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        expect_other_methods(api.call(method, f"{EVENT}/{UNKNOWN_ID}"), "GET")
