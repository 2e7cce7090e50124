"""Replays of parked deliveries, and test messages to subscriptions."""

import json
from datetime import datetime
from typing import Any

import pytest

from domain.deliveries import AttemptOutcome
from persistence import tables
from persistence.queue.claims import Lease
from tests.catalogue_rows import ALLOWED
from tests.databases import run_with_database
from tests.handlers.callers import Caller, build_entry, create_caller, list_places, read_errors
from tests.handlers.messages import create_id
from tests.handlers.waiting_deliveries import (
    REPLAY,
    SECOND,
    TEST,
    UNKNOWN_DELIVERY,
    build_test_message,
    find_org_code,
    get_due_time,
    list_deliveries,
    post,
    publish,
    replay,
    settle_claimable,
    subscribe,
)
from tests.persistence.queues import LEASE, claim_due, list_rows


def test_parked_and_waiting_messages_are_replayed_at_once(caller: Caller) -> None:
    subscribe(caller)
    publish(caller)
    publish(caller)
    settle_claimable(caller, AttemptOutcome.PARK, get_due_time())
    publish(caller)
    first, second, waiting = [item["leveringId"] for item in list_deliveries(caller)]
    ids = [waiting, first.upper(), UNKNOWN_DELIVERY.upper(), second, first, UNKNOWN_DELIVERY]
    assert replay(caller, *ids) == {
        "genfremsendt": 3,
        "ikkeParkerede": [UNKNOWN_DELIVERY],
        "ikkeGenfremsendte": [build_unknown_delivery(UNKNOWN_DELIVERY)],
    }
    assert [(item["status"], item["forsoeg"]) for item in list_deliveries(caller)] == [
        ("venter", 1),
        ("venter", 1),
        ("venter", 0),
    ]
    assert {item["naesteForsoeg"] is not None for item in list_deliveries(caller)} == {True}


def test_skipped_messages_are_listed_with_the_reason(caller: Caller) -> None:
    subscribe(caller)
    person = {"identifikationstypeId": 99, "identifikation": "someone"}
    publish(caller, **person)
    publish(caller, **person)
    lease = Lease("tests", get_due_time(), get_due_time() + LEASE)
    run_with_database(caller.database_url, lambda database: claim_due(database, lease))
    first, second = [item["leveringId"] for item in list_deliveries(caller)]
    response = replay(caller, second, first)
    assert (response["genfremsendt"], response["ikkeParkerede"]) == (0, [second, first])
    behind, under_way = response["ikkeGenfremsendte"]
    assert behind == {"leveringId": second, "hindring": "blocked", "optagetTil": None, "blokeretAf": first}
    until = datetime.fromisoformat(under_way.pop("optagetTil"))
    assert abs(until - lease.until) < SECOND
    assert under_way == {"leveringId": first, "hindring": "underWay", "blokeretAf": None}


def build_unknown_delivery(id_: str) -> dict[str, Any]:
    return {"leveringId": id_, "hindring": "unknown", "optagetTil": None, "blokeretAf": None}


def build_empty_result(*ids: str) -> dict[str, Any]:
    """Return the response for ids that the system does not have."""
    return {
        "genfremsendt": 0,
        "ikkeParkerede": [*ids],
        "ikkeGenfremsendte": [build_unknown_delivery(id_) for id_ in ids],
    }


def test_messages_of_another_system_are_unknown(caller: Caller) -> None:
    other = create_caller(caller.service)
    subscribe(other)
    publish(other)
    settle_claimable(other, AttemptOutcome.PARK, get_due_time())
    (item,) = list_deliveries(other)
    assert replay(caller, item["leveringId"]) == build_empty_result(item["leveringId"])
    assert list_deliveries(other) == [item]


IDS = "leveringIds"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *(({IDS: value}, [(None, IDS, 1014)]) for value in (None, [], {}, "x", [UNKNOWN_DELIVERY] * 1001)),
        ({IDS: [UNKNOWN_DELIVERY, "x", None, {"orgType": 1}]}, [(index, IDS, 1014) for index in (1, 2, 3)]),
        ({IDS: [UNKNOWN_DELIVERY], "x": 1}, [(None, "x", 1014)]),
        ({IDS: ["x"], "systemIdentifier": "x"}, [(None, "systemIdentifier", 1014), (0, IDS, 1014)]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_faults_of_a_replay_are_reported(
    caller: Caller, changes: dict[str, Any], expected: list[tuple[int | None, str, int]]
) -> None:
    response = post(caller, REPLAY, {"systemIdentifier": caller.system_id} | changes)
    assert list_places(response) == expected
    assert {error["orgtype"] for error in read_errors(response, 400)} == {None}


def test_thousand_ids_are_accepted(caller: Caller) -> None:
    ids = [create_id() for _ in range(1000)]
    assert replay(caller, *ids) == build_empty_result(*ids)


def test_test_message_is_sent_to_one_subscription_only(caller: Caller) -> None:
    other = create_caller(caller.service)
    for each in (caller, other):
        each.sync(build_entry(orgCode=find_org_code(caller), startDato="2900-01-01T00:00:00"), build_entry(orgCode=1))
    response = post(caller, TEST, build_test_message(caller), x_requestId="test-1")
    assert response.status_code == 202
    (item,) = list_deliveries(caller)
    assert response.json() == {"beskedId": item["beskedId"], "leveringId": item["leveringId"]}
    assert (item["orgCode"], item["status"]) == (find_org_code(caller), "venter")
    assert list_deliveries(other) == []
    found = run_with_database(caller.database_url, lambda database: list_rows(database, tables.events))
    (row,) = [row for row in found if row["id"] == item["beskedId"]]
    assert (row["publisher"], row["request_id"]) == (f"sha256:{caller.certificate.fingerprint}", "test-1")
    assert json.loads(row["content"]) == {
        "aendringstype": 1,
        "body": {"testbesked": True},
        "eksternIdentifier": "00000000-0000-0000-0000-000000000000",
        "entityType": ALLOWED,
        "orgCode": find_org_code(caller),
        "orgType": 1,
    }


@pytest.mark.parametrize("changes", [{"orgCode": 5}, {"orgType": 2}, {"entityType": 203}])
def test_test_message_to_no_subscription_is_not_found(caller: Caller, changes: dict[str, int]) -> None:
    subscribe(caller)
    (error,) = read_errors(post(caller, TEST, build_test_message(caller, **changes)), 404)
    assert error["errorCode"] == 150105
    assert error["message"] == "Systemet har intet abonnement med den angivne orgType, orgCode og entityType"
    assert list_deliveries(caller) == []


def test_faults_of_a_test_message_are_reported_together(caller: Caller) -> None:
    body = {"systemIdentifier": caller.system_id, "orgType": -1, "orgCode": "x", "x": 1}
    fields = ["entityType", "orgCode", "orgType", "x"]
    assert list_places(post(caller, TEST, body)) == [(None, field, 1014) for field in fields]
    assert list_places(post(caller, TEST, [])) == [(None, None, 1014)]
