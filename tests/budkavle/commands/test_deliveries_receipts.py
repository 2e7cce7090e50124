"""`budkavle deliveries`: list, show and export receipts."""

import json
from datetime import timedelta
from typing import Any

import pytest

from budkavle.commands.deliveries_receipts import print_receipt_pages
from domain.deliveries import AttemptOutcome
from persistence.database import Database
from persistence.queue import claims
from persistence.receipts import ReceiptFilter
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.queues import BODY_HASH, build_lease, build_settled, claim_due

SECOND = timedelta(seconds=1)


def settle_all(url: str, outcome: AttemptOutcome) -> None:
    async def work(database: Database) -> None:
        held = build_lease(now=NOW + SECOND)
        claimed = await claim_due(database, held)
        await claims.settle(database, held, [build_settled(item, outcome, NOW) for item in claimed])

    run_with_database(url, work)


def run(url: str, invoke: Invoke, *arguments: str) -> list[dict[str, Any]]:
    result = invoke(url, "deliveries", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def delivered(database_url: str) -> str:
    """Return two systems that have accepted one delivery each, at the second attempt."""
    subscribe(database_url, "http://127.0.0.1:9", SYSTEM_ID, OTHER_ID)
    publish(database_url, created=NOW)
    settle_all(database_url, AttemptOutcome.AGAIN)
    settle_all(database_url, AttemptOutcome.DONE)
    return database_url


def test_show_prints_the_receipt_and_the_attempts(database_url: str, invoke: Invoke) -> None:
    subscribe(database_url, "http://127.0.0.1:9", SYSTEM_ID)
    publish(database_url, created=NOW)
    (waiting,) = list_queue(database_url)
    settle_all(database_url, AttemptOutcome.AGAIN)
    settle_all(database_url, AttemptOutcome.DONE)
    moment = NOW.isoformat(timespec="milliseconds")
    receipt, *attempts = run(database_url, invoke, "show", waiting.id.upper())
    assert receipt == {
        "number": 1,
        "id": waiting.id,
        "eventId": waiting.event_id,
        "system": SYSTEM_ID,
        "orgType": waiting.org_type,
        "orgCode": waiting.org_code,
        "entityType": waiting.entity_type,
        "webhookUrl": waiting.webhook_url,
        "state": "delivered",
        "attempts": 2,
        "created": moment,
        "firstAttempt": moment,
        "lastAttempt": moment,
        "status": 200,
        "milliseconds": 20,
        "sha256": BODY_HASH,
    }
    assert attempts == [
        {"attempt": 1, "time": moment, "milliseconds": 20, "reason": "http", "status": 503},
        {"attempt": 2, "time": moment, "milliseconds": 20, "status": 200},
    ]


def test_list_selects_receipts(delivered: str, invoke: Invoke) -> None:
    assert run(delivered, invoke, "list") == []
    both = run(delivered, invoke, "list", "--state", "delivered")
    assert {item["system"] for item in both} == {SYSTEM_ID, OTHER_ID}
    (of_system,) = run(delivered, invoke, "list", "--state", "delivered", "--system", SYSTEM_ID)
    assert of_system["failures"] == [
        {"attempt": 1, "time": of_system["firstAttempt"], "milliseconds": 20, "reason": "http", "status": 503}
    ]
    listing = ("list", "--state", "delivered")
    assert run(delivered, invoke, *listing, "--event", of_system["eventId"]) == both
    assert run(delivered, invoke, *listing, "--event", SYSTEM_ID) == []
    assert run(delivered, invoke, *listing, "--since", NOW.isoformat()) == both
    assert run(delivered, invoke, *listing, "--until", NOW.isoformat()) == []
    assert run(delivered, invoke, *listing, "--limit", "1") == both[:1]
    assert run(delivered, invoke, "export") == both
    assert run(delivered, invoke, "export", "--system", OTHER_ID) == [i for i in both if i["system"] == OTHER_ID]


def test_list_selects_undelivered_deliveries_by_event_and_time(database_url: str, invoke: Invoke) -> None:
    subscribe(database_url, "http://127.0.0.1:9", SYSTEM_ID)
    publish(database_url, created=NOW)
    publish(database_url, created=NOW + SECOND)
    first, second = run(database_url, invoke, "list")
    assert run(database_url, invoke, "list", "--event", second["eventId"]) == [second]
    assert run(database_url, invoke, "list", "--until", (NOW + SECOND).isoformat()) == [first]


def test_receipts_have_no_reason(delivered: str, invoke: Invoke) -> None:
    result = invoke(delivered, "deliveries", "list", "--state", "delivered", "--reason", "http")
    assert result.exit_code == 2
    assert "a delivered delivery has no --reason" in result.stderr


@pytest.mark.parametrize("name", ["replay", "drop"])
def test_receipts_are_neither_replayed_nor_dropped(name: str, delivered: str, invoke: Invoke) -> None:
    assert invoke(delivered, "deliveries", name, "--state", "delivered").exit_code == 2


def test_pages_contain_each_receipt_once(delivered: str, capsys: pytest.CaptureFixture[str]) -> None:
    publish(delivered, 2, created=NOW)
    settle_all(delivered, AttemptOutcome.DONE)
    run_with_database(delivered, lambda database: print_receipt_pages(database, ReceiptFilter(), page_size=2))
    ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert len(ids) == len(set(ids)) == 6
