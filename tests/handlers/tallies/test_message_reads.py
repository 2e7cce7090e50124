"""Counted reads of web messages: who read the messages of which party, in memory until they are recorded."""

from datetime import timedelta

import pytest
import structlog
from prometheus_client import REGISTRY

from domain.audit import READS, AuditEntry
from domain.errors import StorageFailed
from domain.message_reads import RecordedReads, build_party_subject, build_reference_subject
from domain.web_messages import ExternalReference
from handlers.tallies.message_reads import MAX_KEPT, MAX_SUBJECTS, ReadTally
from persistence import audit, message_reads
from persistence.database import Database
from tests.factories import NOW, PARTY_ID, build_web_message
from tests.persistence.rows import execute

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
PARTY = build_party_subject(PARTY_ID)
GET, LIST = "getWebMessageById", "getWebMessagesByPartyId"


def create_tally(database: Database, interval: timedelta = HOUR) -> ReadTally:
    return ReadTally(database, now=lambda: NOW, interval=interval)


async def list_entries(database: Database) -> list[AuditEntry]:
    return [item.entry for _, item in await audit.list_page(database, after=0, limit=100, chain=READS)]


async def test_reads_are_recorded_with_one_entry_for_each_caller(database: Database) -> None:
    tally = create_tally(database)
    for _ in range(3):
        tally.count("first", GET, [build_web_message()])
    tally.count("first", LIST, [build_web_message(), build_web_message()])
    tally.count("second", GET, [build_web_message()])
    assert await list_entries(database) == []
    await tally.close()
    assert await message_reads.list_recorded(database, PARTY) == [
        RecordedReads("first", GET, NOW, NOW, 3),
        RecordedReads("first", LIST, NOW, NOW, 1),
        RecordedReads("second", GET, NOW, NOW, 1),
    ]
    first, second = await list_entries(database)
    assert (first.operation, second.operation) == ("*", GET)


async def test_message_without_a_party_is_counted_by_its_references(database: Database) -> None:
    tally = create_tally(database)
    references = (ExternalReference("flowInstanceId", "1068"), ExternalReference("errandNumber", "A"))
    tally.count("caller", GET, [build_web_message(party_id=None, external_references=references)])
    tally.count("caller", GET, [build_web_message()])
    await tally.close()
    for key, value in (("FLOWinstanceid", "1068"), ("errandNumber", "A")):
        subject = build_reference_subject(ExternalReference(key, value))
        assert len(await message_reads.list_recorded(database, subject)) == 1
    # That of a message to a party.
    other = build_reference_subject(ExternalReference("errandNumber", "A-2026-17"))
    assert await message_reads.list_recorded(database, other) == []


async def test_pages_of_a_list_count_each_subject_once(database: Database) -> None:
    tally = create_tally(database)
    counted: set[str] = set()
    for _ in range(3):
        tally.count("caller", LIST, [build_web_message()], counted)
    tally.count("caller", LIST, [], counted)
    await tally.close()
    assert [reads.number for reads in await message_reads.list_recorded(database, PARTY)] == [1]


async def test_close_records_nothing_without_reads(database: Database) -> None:
    tally = create_tally(database)
    tally.count("caller", LIST, [])
    await tally.close()
    assert await list_entries(database) == []


async def test_counts_are_recorded_at_the_end_of_an_interval(database: Database) -> None:
    tally = create_tally(database, timedelta(seconds=0.05))
    for number in (1, 2):
        tally.count("caller", GET, [build_web_message()])
        while len(await list_entries(database)) < number:
            pass
    await tally.close()


async def test_counts_of_many_subjects_are_recorded_at_once_in_bounded_entries(database: Database) -> None:
    tally = create_tally(database)
    parties = [f"00000000-0000-4000-8000-{number:012}" for number in range(2 * MAX_SUBJECTS + 1)]
    tally.count("caller", LIST, [build_web_message(party_id=party_id) for party_id in parties])
    while len(await list_entries(database)) < 2:
        pass
    await tally.close()
    sizes = [len(entry.detail["reads"][LIST]) for entry in await list_entries(database)]
    assert max(sizes) == MAX_SUBJECTS
    assert sum(sizes) == len(parties)


async def test_counts_are_kept_while_the_database_fails(database: Database) -> None:
    tally = create_tally(database)
    tally.count("caller", GET, [build_web_message()])
    await execute(database, "alter table chains rename to away")
    with pytest.raises(StorageFailed):
        await tally.flush()
    tally.count("caller", GET, [build_web_message()])
    await execute(database, "alter table away rename to chains")
    await tally.close()
    assert [reads.number for reads in await message_reads.list_recorded(database, PARTY)] == [1, 1]


async def test_counts_that_cannot_be_recorded_are_logged_and_bounded(database: Database) -> None:
    tally = create_tally(database)
    for number in range(MAX_KEPT + 5):
        tally.count(f"caller-{number}", GET, [build_web_message()])
    await execute(database, "alter table chains rename to away")
    with structlog.testing.capture_logs() as lines:
        await tally.close()
    assert {(line["event"], line["reads"]) for line in lines} == {("reads_not_recorded", MAX_KEPT + 5)}
    assert len(tally._complete) == MAX_KEPT
    assert REGISTRY.get_sample_value("budkavle_unrecorded_reads") == MAX_KEPT
    await execute(database, "alter table away rename to chains")
    tally.count("caller", GET, [build_web_message()])
    await tally.close()
    assert REGISTRY.get_sample_value("budkavle_unrecorded_reads") == 0


async def test_counts_are_recorded_after_an_unexpected_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise RuntimeError

    tally = create_tally(database)
    tally.count("caller", GET, [build_web_message()])
    with monkeypatch.context() as broken, structlog.testing.capture_logs() as lines:
        broken.setattr("handlers.tallies.message_reads._create_key", fail)
        await tally.close()
    assert [(line["event"], line["reads"]) for line in lines] == [("reads_not_recorded", 1)]
    await tally.flush()
    assert [reads.number for reads in await message_reads.list_recorded(database, PARTY)] == [1]
