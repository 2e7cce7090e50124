"""Count what runs remove because of its age, until the audit has the numbers."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.audit import RETENTION, WEB_MESSAGES
from domain.retention import MESSAGES_DELETE, DataKind, MessageSelection, Removal, RemovalRun, RetentionRule
from persistence import audit, removal_counts
from persistence.database import Database
from persistence.opening import open_database
from persistence.removal_counts import ABANDONED_AFTER
from persistence.work import short_write
from tests.factories import NOW
from tests.held_open_e import closed_port
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

RUN = RemovalRun(NOW, "Åsa", "r1")
DAY = timedelta(days=1)
MESSAGES, RECEIPTS = RetentionRule(DataKind.MESSAGES, DAY), RetentionRule(DataKind.RECEIPTS, DAY)

add = short_write(removal_counts.add)


async def list_entries(database: Database) -> list[tuple[RemovalRun, str, int]]:
    """Return run, kind and number of the entries."""
    entries = [each.entry for _, each in await audit.list_page(database, after=0, limit=10, chain=RETENTION)]
    return [
        (RemovalRun(entry.time, entry.caller, entry.request_id), entry.detail["kind"], entry.detail["removed"])
        for entry in entries
    ]


async def test_record_appends_one_entry_for_each_rule_of_the_run(database: Database) -> None:
    for rule, number in ((RECEIPTS, 3), (MESSAGES, 4), (RECEIPTS, 5), (MESSAGES, 0)):
        assert await database.write(add, Removal(RUN, rule), number) == number
    for _ in range(2):
        await removal_counts.record(database, RUN)
        assert await list_entries(database) == [(RUN, "messages", 4), (RUN, "receipts", 8)]
    assert await count_rows(database) == {"audit_entries": 2, "chains": 1}


async def test_record_has_no_entry_for_nothing(database: Database) -> None:
    await database.write(add, Removal(RUN, MESSAGES), 0)
    await database.write(add, None, 1)
    await removal_counts.record(database, RUN)
    assert await count_rows(database) == {}


async def test_record_appends_the_numbers_of_abandoned_runs_alone(database: Database) -> None:
    """A run that began a short time ago may be under way in another process."""
    await database.write(add, Removal(RUN, MESSAGES), 1)
    later = replace(RUN, time=NOW + ABANDONED_AFTER, operator="-")
    await removal_counts.record(database, later)
    assert await list_entries(database) == []
    await removal_counts.record(database, replace(later, time=later.time + timedelta(seconds=1)))
    assert await list_entries(database) == [(RUN, "messages", 1)]


async def test_run_that_has_begun_is_recorded_without_any_number(database: Database) -> None:
    """The audit has the end of each run whose beginning it has."""
    run = replace(RUN, operation=MESSAGES_DELETE)
    await removal_counts.begin(database, Removal(run, MessageSelection(NOW - DAY)))
    for _ in range(2):
        await removal_counts.record(database, run)
    entries = [each.entry for _, each in await audit.list_page(database, after=0, limit=10, chain=WEB_MESSAGES)]
    selected = {"before": "2026-02-28T12:00:00.123+00:00"}
    assert entries == [run.build_entry("begun", selected), run.build_entry("deleted", selected | {"messages": 0})]


async def test_record_appends_the_number_of_each_operation_to_its_chain(database: Database) -> None:
    deleting = replace(RUN, request_id="r2", operation=MESSAGES_DELETE)
    await database.write(add, Removal(deleting, MessageSelection(NOW)), 2)
    await database.write(add, Removal(RUN, MESSAGES), 1)
    await removal_counts.record(database, replace(RUN, request_id="r3", time=NOW + 2 * ABANDONED_AFTER))
    assert await list_entries(database) == [(RUN, "messages", 1)]
    [(_, chained)] = await audit.list_page(database, after=0, limit=10, chain=WEB_MESSAGES)
    assert (chained.entry.request_id, chained.entry.detail["messages"]) == ("r2", 2)


async def end_with(error: type[BaseException], database: Database, number: int) -> None:
    """Remove, and end the run with an error."""
    async with removal_counts.recording(database, RUN):
        if number:
            await database.write(add, Removal(RUN, MESSAGES), number)
        raise error


@pytest.mark.parametrize("error", [asyncio.CancelledError, ValueError])
async def test_run_that_ends_with_an_error_is_recorded(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error):
        await end_with(error, database, 1)
    assert await list_entries(database) == [(RUN, "messages", 1)]


async def test_run_is_cancelled_without_the_database() -> None:
    """A failure of the database would replace the cancellation, and a background task would go on."""
    with closed_port() as port:
        database = open_database(f"postgresql://user:secret@127.0.0.1:{port}/db")
        with pytest.raises(asyncio.CancelledError):
            await end_with(asyncio.CancelledError, database, 0)
        await database.close()
