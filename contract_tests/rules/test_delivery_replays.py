"""Replay parked deliveries, and send test messages to a subscription."""

import json
from typing import Any

import pytest

from contract_tests.api import REPLAY, TEST, Api
from contract_tests.rules.answers import describe_response, expect, expect_errors
from contract_tests.rules.events import deliveries_to, publish
from contract_tests.rules.subscription_sets import IDENTITY, MISSING, NOT_VALID, midnight

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

IDS = "leveringIds"
UNKNOWN_ID = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"


def replay(api: Api, *ids: str) -> dict[str, Any]:
    body = {"systemIdentifier": api.target.system, IDS: list(ids)}
    answer: dict[str, Any] = expect(api.call("POST", REPLAY, body=body), 200).json()
    reasons = answer.pop("ikkeGenfremsendte", None)
    if reasons is not None:
        named = [reason["leveringId"] for reason in reasons]
        assert named == answer["ikkeParkerede"], f"each id that was not replayed must have a reason, but got {reasons}"
    return answer


def a_test(api: Api, entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Send a test message to a subscription and return the response."""
    return {"systemIdentifier": api.target.system, **{name: entry[name] for name in IDENTITY}, **changes}


def test_unknown_ids_are_reported_once_in_request_order(api: Api) -> None:
    first, second, third = (api.uuid() for _ in range(3))
    answer = replay(api, second, first.upper(), third, second.upper(), first)
    wanted = {"genfremsendt": 0, "ikkeParkerede": [second, first, third]}
    assert answer == wanted, f"expected {wanted}, but got {answer}"


def test_replay_accepts_at_most_1000_ids(api: Api) -> None:
    ids = [api.uuid() for _ in range(1001)]
    assert replay(api, *ids[:1000]) == {"genfremsendt": 0, "ikkeParkerede": ids[:1000]}
    body = {"systemIdentifier": api.target.system, IDS: ids}
    expect_errors(api.call("POST", REPLAY, body=body), 400, (None, IDS, NOT_VALID))


@pytest.mark.needs("publisher")
def test_each_id_is_replayed_or_reported(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    for _ in range(3):
        publish(own_set, entry)
    ids = [item["leveringId"] for item in own_set.deliveries()]
    unknown = own_set.uuid()
    answer = replay(own_set, unknown, *ids, *ids)
    named = answer["ikkeParkerede"]
    assert named[0] == unknown, answer
    assert answer["genfremsendt"] + len(named) == 1 + len(ids), f"each of {ids} must be reported once, but got {answer}"
    assert named[1:] == [id_ for id_ in ids if id_ in named], (
        f"ids must be reported in the order of the request, but got {answer}"
    )


@pytest.mark.needs("publisher")
def test_delivery_of_a_removed_subscription_cannot_be_replayed(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    publish(own_set, entry)
    ids = [item["leveringId"] for item in own_set.deliveries()] or [own_set.uuid()]
    own_set.subscribe()
    assert replay(own_set, *ids) == {"genfremsendt": 0, "ikkeParkerede": ids}
    assert own_set.deliveries() == []


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        *(({IDS: value}, [(None, IDS, NOT_VALID)]) for value in (None, [], {}, "x")),
        ({IDS: [UNKNOWN_ID, "x", None, 1]}, [(index, IDS, NOT_VALID) for index in (1, 2, 3)]),
        ({IDS: [UNKNOWN_ID], "x": 1}, [(None, "x", NOT_VALID)]),
        ({IDS: ["x"], "systemIdentifier": "x"}, [(None, "systemIdentifier", NOT_VALID), (0, IDS, NOT_VALID)]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_all_faults_of_a_replay_are_reported(
    changes: dict[str, Any], places: list[tuple[int | None, str, int]], api: Api
) -> None:
    expect_errors(api.call("POST", REPLAY, body={"systemIdentifier": api.target.system} | changes), 400, *places)


def test_test_message_is_delivered_to_its_subscription_only(own_set: Api) -> None:
    """The test message is delivered regardless of the dates of the subscription."""
    entry, other = own_set.entry(startDato="2900-01-01T00:00:00"), own_set.entry()
    own_set.subscribe(entry, other)
    response = expect(own_set.call("POST", TEST, body=a_test(own_set, entry)), 202)
    answer = response.json()
    assert set(answer) == {"beskedId", "leveringId"}, describe_response(response)
    assert deliveries_to(own_set, other) == []
    found = {(item["beskedId"], item["leveringId"]) for item in deliveries_to(own_set, entry)}
    assert found <= {(answer["beskedId"], answer["leveringId"])}, (
        f"expected {answer} in the list of messages, but got {found}"
    )


def test_test_message_is_delivered_to_a_subscription_that_has_ended(own_set: Api) -> None:
    entry = own_set.entry(slutDato=midnight())
    own_set.subscribe(entry)
    expect(own_set.call("POST", TEST, body=a_test(own_set, entry)), 202)


@pytest.mark.parametrize("path", [REPLAY, TEST])
def test_unknown_parameter_is_refused(path: str, api: Api) -> None:
    bodies: dict[str, dict[str, Any]] = {REPLAY: {IDS: [UNKNOWN_ID]}, TEST: dict.fromkeys(IDENTITY, 0)}
    body = {"systemIdentifier": api.target.system} | bodies[path]
    expect_errors(api.call("POST", f"{path}?x=1", body=body), 400, (None, "x", NOT_VALID))


@pytest.mark.parametrize("change", IDENTITY)
def test_test_message_to_no_subscription_is_not_found(change: str, own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    other = a_test(own_set, entry) | {change: entry[change] - 1 if entry[change] else 1}
    (error,) = expect_errors(own_set.call("POST", TEST, body=other), 404, (None, None, MISSING))
    wanted = "Systemet har intet abonnement med den angivne orgType, orgCode og entityType"
    assert error["message"] == wanted, error
    assert own_set.deliveries() == []


def test_all_faults_of_a_test_message_are_reported(api: Api) -> None:
    body = {"systemIdentifier": api.target.system, "orgType": -1, "orgCode": "x", "x": 1}
    fields = ("entityType", "orgCode", "orgType", "x")
    expect_errors(api.call("POST", TEST, body=body), 400, *((None, field, NOT_VALID) for field in fields))
    expect_errors(api.call("POST", TEST, body=json.dumps([]).encode()), 400, (None, None, NOT_VALID))
