"""The sync: the resulting set, the rows that it writes, and the number of its statements."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.callers import Caller, CallerKind
from domain.errors import Forbidden
from domain.subscriptions import ErrorCode, MessageType
from persistence import audit, subscriptions
from persistence.database import Database
from persistence.opening import open_database
from persistence.subscriptions import SyncRefused, SyncResult
from tests.factories import NOW
from tests.persistence.catalogues import (
    END,
    FINGERPRINT,
    START,
    SYSTEM,
    SYSTEM_IDS,
    build_entries,
    build_entry,
    list_all_entries,
    map_ids,
    prepare,
    queue_deliveries,
    set_of,
    sync,
)
from tests.persistence.row_counts import Statements, count_written_rows, take_row_counts
from tests.persistence.rows import count_rows, execute

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await prepare(opened)
    yield opened
    await opened.close()


async def test_sync_stores_the_wanted_set(database: Database) -> None:
    assert await sync(database, build_entries(3)) == SyncResult(3, 0, 0, 0, 0)
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(build_entries(3))
    before = await map_ids(database)
    wanted = [
        build_entry(0, org_code=0),
        build_entry(1, org_code=1, webhook_url="/b", end=None),
        build_entry(2, org_code=7),
    ]
    assert await sync(database, wanted) == SyncResult(created=1, updated=1, deleted=1, unchanged=1, dropped_messages=0)
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(wanted)
    after = await map_ids(database)
    assert {identity: id_ for identity, id_ in after.items() if identity in before} == {
        identity: id_ for identity, id_ in before.items() if identity in after
    }
    assert await sync(database, []) == SyncResult(0, 0, 3, 0, 0)
    assert await subscriptions.list_subscriptions(database, SYSTEM) == []


async def test_sync_keeps_times_and_paths_exactly(database: Database) -> None:
    wanted = [
        build_entry(0, org_code=-1, webhook_url="/a/%C3%A6?".rstrip("?"), start=datetime(1899, 12, 31, 23, tzinfo=UTC)),
        build_entry(1, org_code=99_999_999, entity_type=203, end=datetime(2999, 12, 31, 22, 59, 59, 999_999, UTC)),
        build_entry(2, org_code=0, webhook_url="/" + "x" * 1023, start=START + timedelta(microseconds=1), end=None),
    ]
    await sync(database, wanted)
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(wanted)
    assert (await sync(database, wanted)).unchanged == 3


async def test_sync_does_not_change_other_systems(database: Database) -> None:
    await sync(database, build_entries(2), SYSTEM_IDS[1])
    await sync(database, build_entries(3, webhook_url="/b"))
    await sync(database, [])
    assert await subscriptions.list_subscriptions(database, SYSTEM_IDS[1]) == set_of(build_entries(2))


async def test_refused_sync_changes_nothing_and_reports_every_error(database: Database) -> None:
    await sync(database, build_entries(2))
    await count_written_rows(database)
    wanted = [
        build_entry(0, org_code=9),
        build_entry(1, org_type=2, entity_type=999),
        build_entry(2, org_type=2),
        build_entry(3, org_code=9),
    ]
    with pytest.raises(SyncRefused) as caught:
        await sync(database, wanted)
    assert [(error.index, error.code) for error in caught.value.errors] == [
        (1, ErrorCode.UNKNOWN_TYPE),
        (2, ErrorCode.TYPE_NOT_ALLOWED),
        (3, ErrorCode.NAMED_TWICE),
    ]
    with pytest.raises(SyncRefused) as caught:
        await sync(database, build_entries(1), is_refused_anyway=True)
    assert caught.value.errors == ()
    assert await take_row_counts(database) == {}
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(build_entries(2))


async def test_type_that_exceeds_its_column_is_unknown(database: Database) -> None:
    for entity_type in (2**31, 2**63, 10**30, -1):
        with pytest.raises(SyncRefused) as caught:
            await sync(database, [build_entry(entity_type=entity_type, is_clean=False)], is_refused_anyway=True)
        assert [error.code for error in caught.value.errors] == [ErrorCode.UNKNOWN_TYPE]


async def test_list_broken_rules_treats_all_entries_as_new(database: Database) -> None:
    await sync(database, build_entries(1))
    later = END + timedelta(days=2)
    errors = await subscriptions.list_broken_rules(
        database, [build_entry(0, org_code=0), build_entry(1, entity_type=999)], later
    )
    assert [(error.index, error.code) for error in errors] == [
        (0, ErrorCode.END_IN_THE_PAST),
        (1, ErrorCode.UNKNOWN_TYPE),
        (1, ErrorCode.END_IN_THE_PAST),
    ]


@pytest.mark.parametrize("days", [0, 1, 10_000], ids=["at once", "the day after slutDato", "much later"])
async def test_repeated_sync_writes_only_its_audit_entry(database: Database, days: int) -> None:
    """Also if the catalogue has lost everything that was subscribed to."""
    await sync(database, build_entries(50))
    await queue_deliveries(database, SYSTEM, 1)
    await count_written_rows(database)
    if days:
        await execute(database, "delete from message_types")
        await take_row_counts(database)
        assert await sync(database, build_entries(50), now=END + timedelta(days=days)) == SyncResult(0, 0, 0, 50, 0)
    else:
        assert await sync(database, build_entries(50)) == SyncResult(0, 0, 0, 50, 0)
    assert await take_row_counts(database) == {"audit_entries insert": 1, "chains update": 1}


async def test_sync_writes_only_the_rows_that_differ(database: Database) -> None:
    await sync(database, build_entries(50))
    await count_written_rows(database)
    await sync(
        database, [*build_entries(48), build_entry(48, org_code=48, webhook_url="/b"), build_entry(49, org_code=60)]
    )
    assert await take_row_counts(database) == {
        "subscriptions insert": 1,
        "subscriptions update": 1,
        "subscriptions delete": 1,
        "audit_entries insert": 2,
        "chains update": 1,
    }


async def test_dry_run_returns_the_same_and_changes_nothing(database: Database) -> None:
    await sync(database, build_entries(3))
    await queue_deliveries(database, SYSTEM, 2)
    await count_written_rows(database)
    wanted = [build_entry(0, org_code=0), build_entry(1, org_code=1, webhook_url="/b"), build_entry(2, org_code=7)]
    would = await sync(database, wanted, is_dry_run=True)
    assert await take_row_counts(database) == {"audit_entries insert": 1, "chains update": 1}
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(build_entries(3))
    with pytest.raises(SyncRefused):
        await sync(database, [build_entry(org_type=2)], is_dry_run=True)
    assert would == SyncResult(created=1, updated=1, deleted=1, unchanged=1, dropped_messages=2)
    assert await sync(database, wanted) == would


@pytest.mark.parametrize(
    "state",
    [{}, {"state": "parked", "due": None}, {"lease": "worker", "due": NOW + timedelta(days=1)}],
    ids=["waiting", "parked", "claimed by a worker"],
)
async def test_removed_subscription_drops_its_undelivered_deliveries(database: Database, state: dict[str, Any]) -> None:
    await sync(database, build_entries(3), SYSTEM_IDS[1])
    await queue_deliveries(database, SYSTEM_IDS[1], 5, **state)
    await sync(database, build_entries(3))
    await queue_deliveries(database, SYSTEM, 2, **state)
    # The row is updated in place, so the queue remains.
    assert (await sync(database, build_entries(3, webhook_url="/b"))).dropped_messages == 0
    assert (await count_rows(database))["deliveries"] == 21
    assert await sync(database, build_entries(1, webhook_url="/b")) == SyncResult(0, 0, 2, 1, dropped_messages=4)
    assert (await count_rows(database))["deliveries"] == 17


async def test_number_of_statements_is_independent_of_the_entries(database: Database) -> None:
    numbers = set()
    await sync(database, [])
    for count in (1, 100, 10_000):
        all_new, half_new = (
            build_entries(count),
            [*build_entries(count // 2), *build_entries(count + 1)[count // 2 + 1 :]],
        )
        changed = [build_entry(e.index, org_code=e.org_code, webhook_url="/b") for e in half_new]
        numbers_of_calls = []
        for wanted in (all_new, all_new, changed, []):
            with Statements() as statements:
                await sync(database, wanted)
            numbers_of_calls.append(len(statements.texts))
        numbers.add(tuple(numbers_of_calls) if count > 1 else (*numbers_of_calls[:2], 0, numbers_of_calls[3]))
    assert len({(new, same, none) for new, same, _, none in numbers}) == 1
    assert len({changed for _, _, changed, _ in numbers if changed}) == 1
    assert max(max(calls) for calls in numbers) <= 13


async def test_audit_contains_the_call_and_its_changes(database: Database) -> None:
    first = [build_entry(0), build_entry(1, org_code=102, end=None)]
    await sync(database, first, request_id="r-1")
    await sync(database, [build_entry(0, webhook_url="/b")], request_id="r-2")
    await sync(database, [], request_id="r-3", is_dry_run=True)
    found = [item for item in await list_all_entries(database) if item.chain == SYSTEM]
    assert [(item.kind, item.outcome, item.request_id) for item in found] == [
        ("call", "changed", "r-1"),
        ("change", "changed", "r-1"),
        ("call", "changed", "r-2"),
        ("change", "changed", "r-2"),
        ("call", "dry run", "r-3"),
    ]
    assert {(item.time, item.operation, item.caller) for item in found} == {
        (NOW, "syncWebhookAbonnementer", f"sha256:{FINGERPRINT}")
    }
    start, end = "2026-01-01 00:00:00.000000+00:00", "2026-12-31 00:00:00.000000+00:00"
    before, other = [1, 101, 202, "/a", start, end], [1, 102, 202, "/a", start, None]
    assert found[1].detail == {"created": [before, other], "updated": [], "deleted": []}
    assert found[2].detail == {"created": 0, "updated": 1, "deleted": 1, "unchanged": 0, "droppedMessages": 0}
    after = [1, 101, 202, "/b", start, end]
    assert found[3].detail == {"created": [], "updated": [[before, after]], "deleted": [other]}
    assert found[4].detail == {"created": 0, "updated": 0, "deleted": 1, "unchanged": 0, "droppedMessages": 0}
    assert (await audit.verify(database))[1] is None


async def test_caller_that_lost_access_while_waiting_is_refused(database: Database) -> None:
    await sync(database, build_entries(1))
    await execute(database, "delete from certificates")
    await count_written_rows(database)
    with pytest.raises(Forbidden):
        await sync(database, [])
    with pytest.raises(Forbidden):
        await sync(database, [], "00000000-0000-0000-0000-000000000000")
    assert await take_row_counts(database) == {}


async def test_caller_with_a_token_syncs_with_the_access_of_its_certificate(database: Database) -> None:
    caller = Caller(CallerKind.TOKEN, "https://issuer.example#app", certificate=FINGERPRINT)
    await sync(database, build_entries(1), caller=caller)
    assert {entry.caller for entry in await list_all_entries(database) if entry.chain == SYSTEM} == {caller.name}
    for certificate in ("cd" * 32, None):
        with pytest.raises(Forbidden):
            await sync(database, [], caller=replace(caller, certificate=certificate))


async def test_systems_of_a_certificate_are_returned(database: Database) -> None:
    assert await subscriptions.find_systems(database, FINGERPRINT) == set(SYSTEM_IDS)
    for unknown in ("", "cd" * 32, FINGERPRINT.upper(), f"sha256:{FINGERPRINT}"):
        assert await subscriptions.find_systems(database, unknown) == frozenset()


async def test_list_allowed_returns_the_types_of_an_org_type(database: Database) -> None:
    expected = [MessageType(202, "A"), MessageType(203, "A")]
    assert await subscriptions.list_allowed(database, 1) == expected
    assert await subscriptions.list_allowed(database, 2) == []


async def test_large_sync_does_not_block_the_event_loop(database: Database) -> None:
    """The loop serves others while the sync computes; on the loop it computes only between two statements."""
    task = asyncio.create_task(sync(database, build_entries(20_000)))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await task).created == 20_000
    assert turns > 1000
