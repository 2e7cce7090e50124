"""Counts of refused calls: bounded, kept while the database fails, written after each interval and at shutdown."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
import structlog

from domain.audit import AuditEntry
from domain.errors import RefusalReason, StorageFailed
from handlers.tallies.refusals import MAX_CALLERS, MAX_KNOWN_CALLERS, RefusalTally
from persistence import audit
from persistence.database import Database
from persistence.work import short_write
from tests.factories import NOW

NO_CERTIFICATE = RefusalReason.NO_CERTIFICATE
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.anyio


def build_refusal(caller: str = "ip:192.0.2.1", operation: str = "hentBeskeder", seconds: int = 0) -> AuditEntry:
    return AuditEntry("-", "call", NOW + seconds * SECOND, operation, caller, "refused", "r", {"status": 401})


def create_tally(database: Database, interval: float = 3600) -> RefusalTally:
    return RefusalTally(database, now=lambda: NOW + 60 * SECOND, interval=interval)


async def read_entries(database: Database) -> list[AuditEntry]:
    return [item.entry for _, item in await audit.list_page(database, after=0, limit=10_000)]


async def rename(database: Database, old: str, new: str) -> None:
    await database.write(
        short_write(lambda connection: connection.execute(sa.text(f"alter table {old} rename to {new}")))
    )


async def test_record_writes_the_first_refusal_and_counts_the_others(database: Database) -> None:
    tally = create_tally(database)
    for seconds in range(4):
        await tally.record(build_refusal(seconds=seconds), NO_CERTIFICATE)
    await tally.record(build_refusal(seconds=9), RefusalReason.UNKNOWN_CERTIFICATE)
    assert await read_entries(database) == [build_refusal(), build_refusal(seconds=9)]
    await tally.flush()
    *_, count = await read_entries(database)
    assert (count.kind, count.caller, count.operation, count.time) == (
        *("refusals", "ip:192.0.2.1", "hentBeskeder"),
        NOW + 60 * SECOND,
    )
    assert count.detail == {
        "reason": "no_certificate",
        "count": 3,
        "first": (NOW + SECOND).isoformat(),
        "last": (NOW + 3 * SECOND).isoformat(),
        "operations": {"hentBeskeder": 3},
    }
    await tally.close()
    assert len(await read_entries(database)) == 3


async def test_record_writes_a_first_refusal_again_in_the_next_interval(database: Database) -> None:
    tally = create_tally(database)
    for _ in range(2):
        await tally.record(build_refusal(), NO_CERTIFICATE)
        await tally.flush()
    assert await read_entries(database) == [build_refusal(), build_refusal()]


@pytest.mark.parametrize(
    ("reason", "limit"),
    [(NO_CERTIFICATE, MAX_CALLERS), (RefusalReason.SYSTEM_NOT_AUTHORISED, MAX_KNOWN_CALLERS)],
)
async def test_record_bounds_the_entries_for_any_variation(
    database: Database, reason: RefusalReason, limit: int
) -> None:
    tally = create_tally(database)
    for _ in range(2):
        for number in range(3 * limit):
            await tally.record(build_refusal(f"ip:{number}", operation=f"operation{number % 2}"), reason)
    assert len(await read_entries(database)) == limit
    await tally.close()
    entries = await read_entries(database)
    assert len(entries) == 2 * limit + 1
    assert sum(entry.detail.get("count", 1) for entry in entries) == 6 * limit
    (others,) = (entry for entry in entries if entry.caller == "*")
    assert (others.operation, others.detail["count"]) == ("*", 4 * limit)


async def test_concurrent_refusals_have_one_entry(database: Database) -> None:
    tally = create_tally(database)
    await asyncio.gather(*(tally.record(build_refusal(), NO_CERTIFICATE) for _ in range(50)))
    await tally.close()
    first, count = await read_entries(database)
    assert (first, count.detail["count"]) == (build_refusal(), 49)


async def test_counts_are_written_at_the_end_of_an_interval(database: Database) -> None:
    tally = create_tally(database, interval=0.05)
    while len(await read_entries(database)) < 2:
        await tally.record(build_refusal(), NO_CERTIFICATE)
    await tally.close()


async def test_counts_are_kept_while_the_database_fails(database: Database) -> None:
    tally = create_tally(database)
    await rename(database, "chains", "away")
    with pytest.raises(StorageFailed):
        await tally.record(build_refusal(), NO_CERTIFICATE)
    for seconds in (1, 2):
        await tally.record(build_refusal(seconds=seconds), NO_CERTIFICATE)
        with pytest.raises(StorageFailed):
            await tally.flush()
    await rename(database, "away", "chains")
    await tally.close()
    (entry,) = await read_entries(database)
    assert (entry.detail["count"], entry.detail["first"]) == (3, NOW.isoformat())


async def test_counts_of_many_callers_stay_bounded_while_the_database_fails(database: Database) -> None:
    tally = create_tally(database)
    await rename(database, "chains", "away")
    for number in range(10 * MAX_CALLERS):
        with contextlib.suppress(StorageFailed):
            await tally.record(build_refusal(f"ip:{number}"), NO_CERTIFICATE)
        with pytest.raises(StorageFailed):
            await tally.flush()
    await rename(database, "away", "chains")
    await tally.close()
    entries = await read_entries(database)
    assert len(entries) <= MAX_CALLERS + 1
    assert sum(entry.detail["count"] for entry in entries) == 10 * MAX_CALLERS


async def test_counts_that_cannot_be_written_at_shutdown_are_logged(database: Database) -> None:
    tally = create_tally(database)
    for _ in range(3):
        await tally.record(build_refusal(), NO_CERTIFICATE)
    await rename(database, "chains", "away")
    with structlog.testing.capture_logs() as lines:
        await tally.close()
    assert {(line["event"], line["calls"]) for line in lines} == {("refusals_not_recorded", 2)}


async def test_flush_without_counts_writes_nothing(database: Database) -> None:
    tally = create_tally(database)
    await tally.record(replace(build_refusal(), outcome="failed"), NO_CERTIFICATE)
    await tally.close()
    await tally.close()
    assert len(await read_entries(database)) == 1
