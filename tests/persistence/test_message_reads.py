"""Recorded reads: relatable to their subject by its key alone, and never again after the key was destroyed."""

import json
import secrets
from datetime import datetime, timedelta

import pytest

from domain.audit import READS, AuditEntry
from domain.message_reads import KEY_BYTES, ReadCounts, RecordedReads, build_party_subject
from persistence import audit, message_reads, tables
from persistence.database import Database
from persistence.message_reads import DESTROYED_FOR
from tests.factories import NOW, PARTY_ID
from tests.persistence.queues import list_rows

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
PARTY = build_party_subject(PARTY_ID)
OTHER = build_party_subject("00000000-0000-4000-8000-000000000001")
GET, LIST = "getWebMessageById", "getWebMessagesByPartyId"


def build_counts(first: datetime = NOW, caller: str = "case-system", **numbers: int) -> ReadCounts:
    """Return counts of PARTY by operation, and one of another party."""
    counts = ReadCounts(caller, first)
    counts.numbers.update({(operation, PARTY): number for operation, number in (numbers or {GET: 1}).items()})
    counts.numbers[GET, OTHER] = 1
    return counts


async def record(database: Database, counts: ReadCounts) -> None:
    """Record counts a minute after the first read."""
    await message_reads.record(database, counts, counts.first + MINUTE, lambda: secrets.token_bytes(KEY_BYTES))


async def list_entries(database: Database) -> list[AuditEntry]:
    return [item.entry for _, item in await audit.list_page(database, after=0, limit=100, chain=READS)]


async def test_recorded_reads_are_found_by_their_subject(database: Database) -> None:
    await record(database, build_counts(**{GET: 3, LIST: 2}))
    await record(database, build_counts(NOW + 10 * MINUTE, "team#1"))
    assert await message_reads.list_recorded(database, PARTY) == [
        RecordedReads("case-system", GET, NOW, NOW + MINUTE, 3),
        RecordedReads("case-system", LIST, NOW, NOW + MINUTE, 2),
        RecordedReads("team#1", GET, NOW + 10 * MINUTE, NOW + 11 * MINUTE, 1),
    ]
    assert len(await message_reads.list_recorded(database, OTHER)) == 2
    assert await message_reads.list_recorded(database, build_party_subject("unknown")) == []


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, NOW, []),
        (None, NOW + MINUTE / 2, ["first"]),
        (NOW + MINUTE, None, ["first", "second"]),
        (NOW + 2 * MINUTE, None, ["second"]),
        (NOW + 10 * MINUTE, NOW + 10 * MINUTE, []),
    ],
)
async def test_recorded_reads_are_selected_by_time(
    database: Database, since: datetime | None, until: datetime | None, found: list[str]
) -> None:
    """Reads that may have been between these times are found: only the first and the last possible time is known."""
    await record(database, build_counts(NOW, "first"))
    await record(database, build_counts(NOW + 10 * MINUTE, "second"))
    listed = await message_reads.list_recorded(database, PARTY, since, until)
    assert [reads.caller for reads in listed] == found


async def test_entry_contains_no_subject(database: Database) -> None:
    await record(database, build_counts(**{GET: 3}))
    await record(database, build_counts(NOW + MINUTE))
    first, second = await list_entries(database)
    assert (first.kind, first.caller, first.operation, first.outcome) == ("reads", "case-system", GET, "answered")
    assert first.time == NOW + MINUTE
    assert PARTY_ID not in json.dumps(first.detail)
    assert first.detail["first"] == NOW.isoformat()
    numbers = first.detail["reads"][GET]
    assert sorted(numbers.values()) == [1, 3]
    assert all(len(hash_) == 64 for hash_ in numbers)
    # Both parties keep their key.
    assert set(second.detail["reads"][GET]) == set(numbers)
    assert PARTY_ID.replace("-", "") not in str(await list_rows(database, tables.read_keys))
    assert (await audit.verify(database))[1] is None


async def test_destroyed_key_cannot_relate_reads_any_more(database: Database) -> None:
    await record(database, build_counts())
    await message_reads.destroy_key(database, PARTY_ID, NOW + 2 * MINUTE)
    assert await message_reads.list_recorded(database, PARTY) == []
    assert len(await message_reads.list_recorded(database, OTHER)) == 1
    (row,) = [row for row in await list_rows(database, tables.read_keys) if row["key"] is None]
    assert row["destroyed"] == NOW + 2 * MINUTE
    await message_reads.destroy_key(database, PARTY_ID, NOW + 3 * MINUTE)
    assert (await audit.verify(database))[1] is None


async def test_reads_counted_before_the_destruction_get_no_new_key(database: Database) -> None:
    """Another process may record its counts after the person was erased."""
    await message_reads.destroy_key(database, PARTY_ID, NOW + MINUTE / 2)
    await record(database, build_counts(**{GET: 2, LIST: 3}))
    assert await message_reads.list_recorded(database, PARTY) == []
    (entry,) = await list_entries(database)
    assert entry.detail["erased"] == {GET: 2, LIST: 3}
    assert list(entry.detail["reads"][GET].values()) == [1]


async def test_reads_after_the_destruction_get_a_new_key(database: Database) -> None:
    await record(database, build_counts(caller="before"))
    await message_reads.destroy_key(database, PARTY_ID, NOW + 2 * MINUTE)
    await record(database, build_counts(NOW + 3 * MINUTE, "after"))
    assert [reads.caller for reads in await message_reads.list_recorded(database, PARTY)] == ["after"]


async def test_destruction_is_forgotten_after_a_time(database: Database) -> None:
    await message_reads.destroy_key(database, PARTY_ID, NOW)
    counts = build_counts(NOW + DESTROYED_FOR)
    del counts.numbers[GET, PARTY]
    await record(database, counts)
    assert [row["destroyed"] for row in await list_rows(database, tables.read_keys)] == [None]
