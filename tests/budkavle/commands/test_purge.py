"""`budkavle purge`, and the regular removal by servers and workers."""

import json
import sys
from datetime import datetime, timedelta

import pytest

from budkavle import retention
from budkavle.clock import now
from budkavle.retention import Purge
from budkavle.settings import read_settings
from domain.deliveries import AttemptOutcome
from domain.errors import StorageFailed
from domain.idempotency_keys import build_first_id
from domain.web_messages import ExternalReference
from persistence import message_reads
from persistence import web_messages as stored
from persistence.database import Database
from persistence.queue import claims
from tests.budkavle.commands.retained import count, list_entries
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.budkavle.services import running_program
from tests.databases import run_with_database
from tests.factories import NOW, PARTY_ID, build_web_message, idempotency_key
from tests.persistence.queues import build_lease, build_settled, claim, publish
from tests.persistence.rows import count_rows, execute
from tests.processes import run_program
from tests.waiting import block_until

OLD = NOW
SETTINGS = {
    "stored_external_days": "10",
    "published_internal_days": "10.5",
    "parked_days": "10",
    "receipt_days": "10",
    "idempotency_days": "10",
}
REMOVED = {"messages": 2, "parkedDeliveries": 1, "events": 2, "receipts": 1, "idempotencyKeys": 1}


@pytest.fixture
def filled(database_url: str) -> str:
    """Return a database with old data of each kind, and with data that is kept."""
    subscribe(database_url)

    async def put(database: Database) -> None:
        for outcome in (AttemptOutcome.PARK, AttemptOutcome.DONE):
            await publish(database, created=OLD)
            [claimed] = await claim(database)
            await claims.settle(database, build_lease(), [build_settled(claimed, outcome)])
        await publish(database, created=OLD)
        message = build_web_message(id=build_first_id(OLD), created=OLD)
        await stored.store(database, message, idempotency_key(message))
        await stored.store(database, build_web_message(created=OLD))
        await stored.store(database, build_web_message(created=now()))
        doubtful = build_web_message(external_references=(ExternalReference("flowInstanceId", "7"),), created=None)
        await stored.begin_sending(database, doubtful, OLD)

    run_with_database(database_url, put)
    return database_url


def read_kinds(stdout: str, name: str) -> dict[str, int]:
    """Return the numbers by kind."""
    lines = [json.loads(line) for line in stdout.splitlines()]
    numbers: dict[str, int] = {}
    for line in lines:
        numbers[line["kind"]] = numbers.get(line["kind"], 0) + line[name]
    return numbers


def test_purge_removes_old_data_and_records_numbers(filled: str, invoke: Invoke) -> None:
    result = invoke(filled, "purge", "--as", "Åsa", **SETTINGS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert read_kinds(result.stdout, "removed") == REMOVED
    remaining = count(filled)
    assert {name: remaining.get(name, 0) for name in ("web_messages", "deliveries", "events", "receipts")} == {
        "web_messages": 2,
        "deliveries": 1,
        "events": 1,
        "receipts": 0,
    }
    assert list_entries(filled) == [
        (
            "purge",
            "Åsa",
            "removed",
            {"kind": "messages", "state": "stored", "oepInstance": "external", "days": 10, "removed": 2},
        ),
        *(
            ("purge", "Åsa", "removed", {"kind": kind, "days": days, "removed": REMOVED[kind]})
            for kind, days in (("parkedDeliveries", 10), ("events", 1), ("receipts", 10), ("idempotencyKeys", 10))
        ),
    ]
    again = invoke(filled, "purge", **SETTINGS)
    assert set(read_kinds(again.stdout, "removed").values()) == {0}
    assert len(list_entries(filled)) == len(REMOVED)
    assert invoke(filled, "audit", "verify", **SETTINGS).exit_code == 0


def test_purge_dry_run_prints_the_numbers_and_changes_nothing(filled: str, invoke: Invoke) -> None:
    before = count(filled)
    result = invoke(filled, "purge", "--dry-run", **SETTINGS)
    assert (result.exit_code, read_kinds(result.stdout, "wouldRemove")) == (0, REMOVED)
    assert count(filled) == before


def test_purge_keeps_messages_and_parked_deliveries_by_default(filled: str, invoke: Invoke) -> None:
    result = invoke(filled, "purge")
    assert read_kinds(result.stdout, "removed") == {"events": 1, "receipts": 1, "idempotencyKeys": 1}
    assert (count(filled)["web_messages"], count(filled)["deliveries"]) == (4, 2)


def test_regular_purge_removes_what_the_settings_say(filled: str) -> None:
    settings = read_settings(**{name: float(value) for name, value in SETTINGS.items()})

    async def run(database: Database) -> dict[str, int]:
        regular = retention.create_regular_purge(settings, database, now)
        await regular.run_once()
        return await count_rows(database)

    numbers = run_with_database(filled, run)
    assert (numbers["web_messages"], numbers["deliveries"]) == (2, 1)
    assert {(caller, detail["kind"]) for _, caller, _, detail in list_entries(filled)} == {
        ("-", "messages"),
        ("-", "parkedDeliveries"),
    }


def test_serve_removes_old_messages(filled: str) -> None:
    with running_program(filled, stored_external_days=10):
        block_until(lambda: count(filled)["web_messages"] == len(("new", "in doubt")))
        # The numbers are recorded after the removal.
        block_until(lambda: len(list_entries(filled)) == len(("messages", "idempotency keys")))
    assert [caller for _, caller, _, _ in list_entries(filled)] == ["-", "-"]


def test_regular_purge_without_settings_forgets_erased_persons_alone(filled: str) -> None:
    before = count(filled)

    async def run(database: Database, moment: datetime) -> None:
        await retention.create_regular_purge(read_settings(), database, lambda: moment).run_once()

    run_with_database(filled, lambda database: message_reads.destroy_key(database, PARTY_ID, NOW))
    run_with_database(filled, lambda database: run(database, NOW + timedelta(days=2)))
    assert count(filled) == before | {"read_keys": 1}
    run_with_database(filled, lambda database: run(database, NOW + timedelta(days=2, seconds=1)))
    assert count(filled) == before


def test_purge_records_what_it_removed_before_an_error(filled: str) -> None:
    """The second rule fails: its table is missing."""
    rules = read_settings(**{name: float(value) for name, value in SETTINGS.items()}).build_retention_rules()

    async def run(database: Database) -> None:
        await execute(database, "alter table attempts rename to attempts_away")
        with pytest.raises(StorageFailed):
            await Purge(database, rules).run(now(), "Åsa")

    run_with_database(filled, run)
    assert [detail["kind"] for *_, detail in list_entries(filled)] == ["messages"]


def test_run_that_is_killed_at_any_line_has_its_numbers_in_the_audit(database_url: str, invoke: Invoke) -> None:
    """Another run records them later."""
    result = run_program(sys.executable, "-m", "tests.budkavle.kill_retention", database_url=database_url)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > 10
    assert invoke(database_url, "audit", "verify").exit_code == 0
