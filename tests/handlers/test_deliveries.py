"""The list of a system's deliveries, page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract_tests.rules.events import STATUSES
from domain.deliveries import Attempt, AttemptOutcome, DeliveryState, Reason
from domain.subscriptions import Identity
from handlers.deliveries import STATUS
from persistence import deliveries, delivery_pauses, tables
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.queue import claims
from persistence.queue.claims import Lease, SettledAttempt
from tests.catalogue_rows import ALLOWED, execute
from tests.databases import run_with_database
from tests.handlers.callers import Caller, list_places, read_errors
from tests.handlers.messages import create_id
from tests.handlers.waiting_deliveries import (
    LIST,
    SECOND,
    find_org_code,
    get,
    get_due_time,
    list_deliveries,
    publish,
    settle_claimable,
    subscribe,
)
from tests.persistence.queues import LEASE, build_action, claim_due, list_rows
from tests.test_guards import SPECS


def test_list_of_deliveries_has_no_content(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller, identifikationstypeId=1, identifikation="9999999901", body={"secret": "s3cr3t"})
    response = get(caller)
    assert "s3cr3t" not in response.text
    assert "9999999901" not in response.text
    (item,) = response.json()["beskeder"]
    assert item == {
        "leveringId": item["leveringId"],
        "beskedId": event_id,
        "orgType": 1,
        "orgCode": find_org_code(caller),
        "entityType": ALLOWED,
        "webhookUrl": "/webhook",
        "status": "venter",
        "forsoeg": 0,
        "oprettet": item["oprettet"],
        "naesteForsoeg": item["oprettet"],
        "aarsag": None,
        "httpStatus": None,
        "aarsagTekst": None,
        "blokeretAf": None,
        "pauseretSiden": None,
        "pauseretTil": None,
    }
    assert datetime.fromisoformat(item["oprettet"]).utcoffset() is not None
    assert "link" not in response.headers


def test_list_contains_the_last_attempt(caller: Caller) -> None:
    subscribe(caller)
    keyed = {"eksternIdentifier": create_id()}
    publish(caller, **keyed)
    publish(caller, **keyed)
    now = get_due_time()
    settle_claimable(caller, AttemptOutcome.AGAIN, now)
    first, behind = list_deliveries(caller)
    assert (first["status"], first["forsoeg"], first["aarsag"], first["httpStatus"]) == ("venter", 1, "http", 503)
    assert datetime.fromisoformat(first["naesteForsoeg"]) == now + SECOND
    assert (behind["forsoeg"], behind["naesteForsoeg"], behind["aarsag"]) == (0, None, None)
    assert (first["blokeretAf"], behind["blokeretAf"]) == (None, first["leveringId"])
    settle_claimable(caller, AttemptOutcome.PARK, now + SECOND)
    first, behind = list_deliveries(caller)
    assert (first["status"], first["naesteForsoeg"], first["httpStatus"]) == ("parkeret", None, 404)
    assert behind["naesteForsoeg"] is not None
    assert (first["blokeretAf"], behind["blokeretAf"], first["aarsagTekst"]) == (None, None, None)
    assert list_deliveries(caller, "&status=parkeret") == [first]
    assert list_deliveries(caller, "&status=venter") == [behind]


def test_hent_beskeder_returns_the_cause_of_a_failure_without_an_answer(caller: Caller) -> None:
    subscribe(caller)
    publish(caller)
    lease = Lease("tests", get_due_time(), get_due_time() + LEASE)

    async def fail(database: Database) -> None:
        for item in await claim_due(database, lease):
            attempt = Attempt(1, get_due_time(), 0, None, Reason.SETUP, "env:NOT_SET is not set")
            await claims.settle(
                database, lease, [SettledAttempt(item.number, AttemptOutcome.AGAIN, attempt, get_due_time() + SECOND)]
            )

    run_with_database(caller.database_url, fail)
    (item,) = list_deliveries(caller)
    assert (item["aarsag"], item["aarsagTekst"], item["httpStatus"]) == ("setup", "env:NOT_SET is not set", None)


def test_hent_beskeder_returns_the_pause_of_a_system_or_subscription(caller: Caller) -> None:
    subscribe(caller)
    publish(caller)
    since, until = datetime.now(UTC).replace(microsecond=0), get_due_time() + timedelta(hours=1)
    identity = Identity(1, find_org_code(caller), ALLOWED)

    def pause(identity: Identity | None, until: datetime | None) -> tuple[datetime | None, ...]:
        command = Command(caller.system_id, identity, "operator", since, create_id(), create_id())
        run_with_database(caller.database_url, lambda database: delivery_pauses.pause(database, command, until))
        (item,) = list_deliveries(caller)
        assert item["status"] == "venter"
        times = (item[name] for name in ("pauseretSiden", "pauseretTil", "naesteForsoeg"))
        return tuple(time and datetime.fromisoformat(time) for time in times)

    assert pause(identity, until) == (since, until, until)
    assert pause(None, until - timedelta(minutes=1)) == (since, until, until)
    assert pause(None, None) == (since, None, None)


def test_claimed_delivery_has_no_next_attempt(caller: Caller) -> None:
    subscribe(caller)
    publish(caller)
    lease = Lease("tests", get_due_time(), get_due_time() + LEASE)
    run_with_database(caller.database_url, lambda database: claim_due(database, lease))
    (item,) = list_deliveries(caller)
    assert (item["status"], item["naesteForsoeg"]) == ("venter", None)


def test_pages_are_continuous_when_messages_are_removed(caller: Caller) -> None:
    subscribe(caller)
    published = [publish(caller) for _ in range(5)]
    settle_claimable(caller, AttemptOutcome.PARK, get_due_time())
    response = get(caller, "&limit=2&status=parkeret")
    seen = response.json()["beskeder"]
    link = response.headers["link"]
    assert link.endswith('>; rel="next"')
    gone, action = [item["leveringId"] for item in seen], build_action(caller.system_id)
    run_with_database(caller.database_url, lambda database: deliveries.drop(database, gone, action))
    while True:
        path = link[1 : link.index(">")]
        assert path.startswith(f"{LIST}?systemIdentifier={caller.system_id}&status=parkeret&limit=2&after=")
        response = caller.service.client.get(path, headers=caller.headers())
        seen += response.json()["beskeder"]
        if "link" not in response.headers:
            break
        link = response.headers["link"]
    assert [item["beskedId"] for item in seen] == published
    assert "link" not in get(caller, "&limit=3").headers


def test_default_page_has_1000_messages(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller)

    async def double(database: Database) -> list[dict[str, Any]]:
        (row,) = [row for row in await list_rows(database, tables.deliveries) if row["event_id"] == event_id]
        return [{**row, "id": create_id(), "number": None, "state": "parked", "due": None} for _ in range(1000)]

    more = run_with_database(caller.database_url, double)
    for row in more:
        del row["number"]
    execute(caller.database_url, tables.deliveries.insert().values(more))
    response = get(caller)
    assert len(response.json()["beskeder"]) == 1000
    path = response.headers["link"].split(">")[0][1:]
    assert len(caller.service.client.get(path, headers=caller.headers()).json()["beskeder"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"&limit={value}", "limit") for value in ("0", "1001", "-1", "x", "1.0", "", "9" * 30)),
        *((f"&after={value}", "after") for value in ("", "x", "1", "8" + "0" * 15, "0" * 17, "00000000000000AA")),
        *((f"&status={value}", "status") for value in ("", "x", "Venter", "waiting", "parkeret%00")),
        ("&limit=1&limit=1", "limit"),
        ("&x=1", "x"),
    ],
)
def test_faults_of_the_query_are_reported(caller: Caller, query: str, field: str) -> None:
    assert list_places(get(caller, query)) == [(None, field, 1014)]


def test_all_faults_of_the_query_are_reported_together(caller: Caller) -> None:
    response = caller.service.client.get(f"{LIST}?limit=0&status=x&after=x&x=1", headers=caller.headers())
    fields = ["after", "limit", "status", "systemIdentifier", "x"]
    assert list_places(response) == [(None, field, 1014) for field in fields]
    texts = {error["field"]: error["message"] for error in read_errors(response, 400)}
    assert texts["status"] == "Request validerer ikke: status skal være en af " + ", ".join(STATUS.values())
    assert texts["after"] == "Request validerer ikke: after skal være taget fra headeren Link i et svar"


def test_contract_lists_every_reason() -> None:
    enum = SPECS["subscriptions"]["components"]["schemas"]["Delivery"]["properties"]["aarsag"]["enum"]
    assert enum == [*map(str, Reason), None]


def test_each_state_has_a_status_of_the_contract() -> None:
    assert set(STATUS) == set(DeliveryState), "STATUS in handlers/deliveries.py"
    statuses = list(STATUS.values())
    documented = SPECS["subscriptions"]["components"]["schemas"]["Status"]["enum"]
    assert documented == statuses, "enum of Status in spec/subscriptions.yaml"
    assert list(STATUSES) == statuses, "STATUSES in contract_tests/rules/events.py"
