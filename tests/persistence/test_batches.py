"""Work of several callers that runs in one batch."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from domain.errors import NotFound, StorageFailed
from persistence import web_messages as stored
from persistence.batches import MAX_BATCH, Batcher
from persistence.database import Database
from persistence.sqlite.database import SqliteDatabase
from persistence.web_message_inserts import LARGE_BYTES
from persistence.work import batched_read, short_read
from tests.factories import build_web_message
from tests.handlers.messages import create_id

pytestmark = pytest.mark.anyio


async def test_batched_reads_get_their_own_results(database: Database) -> None:
    messages = [build_web_message(id=create_id(), message=f"message {number}") for number in range(2 * MAX_BATCH)]
    for message in messages:
        await stored.store(database, message)
    ids = [*(message.id for message in messages), create_id(), messages[0].id]
    found = await asyncio.gather(*(stored.get(database, id_) for id_ in ids), return_exceptions=True)
    assert found[: len(messages)] == messages
    assert isinstance(found[-2], NotFound)
    assert found[-1] == messages[0]


async def test_reads_that_arrive_together_run_in_batches(database: Database) -> None:
    batches: list[int] = []

    @batched_read
    def double(_connection: sa.Connection, items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        return [2 * item for item in items]

    results = await asyncio.gather(*(database.read(double, number) for number in range(MAX_BATCH + 2)))
    assert results == [2 * number for number in range(MAX_BATCH + 2)]
    if isinstance(database, SqliteDatabase):
        # The first read cannot know that others follow in its iteration.
        assert batches == [1, MAX_BATCH, 1]
    else:
        # Two batches run at the same time.
        assert sorted(batches) == [2, MAX_BATCH]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_read_that_arrives_alone_on_sqlite_does_not_wait(database: Database) -> None:
    @batched_read
    def copy(_connection: sa.Connection, items: Sequence[int]) -> list[int]:
        return list(items)

    def begin() -> asyncio.Task[int]:
        return asyncio.create_task(database.read(copy, 1))

    async def is_done_in_one_iteration(task: asyncio.Task[int]) -> bool:
        await asyncio.sleep(0)
        is_done = task.done()
        await task
        return is_done

    assert [await is_done_in_one_iteration(begin()) for _ in range(3)] == [True] * 3
    await asyncio.gather(*(begin() for _ in range(3)))
    # Others may still arrive together with the next one, which learns that it is alone.
    assert [await is_done_in_one_iteration(begin()) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize(("enough", "expected"), [(MAX_BATCH, [[0, 1, 2], [5]]), (2, [[0, 1], [2], [5]])])
async def test_batch_begins_when_nothing_arrives_or_with_enough_items(enough: int, expected: list[list[int]]) -> None:
    batches: list[list[int]] = []

    async def run(_work: object, items: list[int]) -> list[int]:
        batches.append(items)
        return items

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run, enough=enough)

    async def add_after(iterations: int) -> None:
        for _ in range(iterations):
            await asyncio.sleep(0)
        await batcher.add(work, iterations)

    # Nothing arrives in iterations 3 and 4, so the batch before does not wait for item 5.
    await asyncio.gather(*map(add_after, (0, 1, 2, 5)))
    assert batches == expected


async def test_batch_begins_with_half_of_the_items_under_way() -> None:
    batches: list[list[int]] = []
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def run(_work: object, items: list[int]) -> list[int]:
        batches.append(items)
        if len(batches) == 1:
            has_begun.set()
            await may_end.wait()
        return items

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run, enough=2)
    tasks = [asyncio.create_task(batcher.add(work, number)) for number in range(8)]
    await has_begun.wait()
    tasks += [asyncio.create_task(batcher.add(work, number)) for number in (8, 9)]
    await asyncio.sleep(0)
    may_end.set()
    # One item arrives in each iteration. With the eight that have ended, two that wait are less than half.
    for number in range(10, 16):
        tasks.append(asyncio.create_task(batcher.add(work, number)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert batches[0] == [*range(8)]
    assert len(batches[1]) >= 5


async def test_batch_may_end_before_its_last_items() -> None:
    batches: list[list[int]] = []

    async def run(_work: object, items: list[int]) -> list[int]:
        batches.append(items)
        return [10 * item for item in items[:2]]

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run)
    assert await asyncio.gather(*(batcher.add(work, number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert batches == [[0, 1, 2, 3, 4], [2], [3], [4]]


async def test_batch_that_hung_may_end_before_its_last_items() -> None:
    may_end = asyncio.Event()

    async def run(_work: object, items: list[int]) -> list[int]:
        if items == [0, 1]:
            await may_end.wait()
        return items[:1]

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run, patience=0.01)
    slow = asyncio.gather(*(batcher.add(work, number) for number in range(2)))
    await asyncio.sleep(0)
    assert await batcher.add(work, 2) == 2
    may_end.set()
    assert await slow == [0, 1]


async def test_large_messages_are_not_read_in_one_batch_on_sqlite(database: Database) -> None:
    """A batch would block the event loop, and hold all of its messages at once."""
    sizes = [1, LARGE_BYTES + 1, 1, LARGE_BYTES + 1]
    messages = [build_web_message(id=create_id(), message="x" * size) for size in sizes]
    for message in messages:
        await stored.store(database, message)
    ids = [message.id for message in messages]

    @short_read
    def read_batch(connection: sa.Connection) -> int:
        assert stored._find.batch is not None
        return len(stored._find.batch(connection, ids))

    assert await database.read(read_batch) == (2 if isinstance(database, SqliteDatabase) else len(ids))
    assert await asyncio.gather(*(stored.get(database, id_) for id_ in ids)) == messages
    if isinstance(database, SqliteDatabase):
        assert [database._reads.is_joined() for _ in range(2)] == [False, False]


async def test_batch_that_hangs_does_not_delay_later_items() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def run(_work: object, items: list[str]) -> list[str]:
        if "slow" in items:
            started.set()
            await stopped.wait()
        return items

    def work(_connection: sa.Connection, _items: Sequence[str]) -> None:
        """Serve as a key."""

    batcher = Batcher(run, patience=0.01)
    slow = asyncio.create_task(batcher.add(work, "slow"))
    await started.wait()
    assert await batcher.add(work, "quick") == "quick"
    assert not slow.done()
    stopped.set()
    assert await slow == "slow"


@pytest.mark.parametrize("patience", [None, 0.01, 60])
async def test_batch_that_is_cancelled_leaves_no_caller_waiting_and_later_ones_run(patience: float | None) -> None:
    started, stopped, is_broken = asyncio.Event(), asyncio.Event(), True

    async def run(_work: object, items: list[int]) -> list[int]:
        if not is_broken:
            return items
        started.set()
        await stopped.wait()
        raise asyncio.CancelledError

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run, patience=patience)
    callers = [asyncio.create_task(batcher.add(work, number)) for number in range(3)]
    await started.wait()
    callers.append(asyncio.create_task(batcher.add(work, 3)))
    asyncio.get_running_loop().call_later(0.05, stopped.set)
    await asyncio.wait(callers, timeout=10)
    assert all(caller.cancelled() for caller in callers)
    is_broken = False
    async with asyncio.timeout(10):
        assert await batcher.add(work, 4) == 4


async def test_failed_database_fails_the_batch_and_is_not_asked_again() -> None:
    calls: list[list[int]] = []

    async def run(_work: object, items: list[int]) -> None:
        calls.append(items)
        raise StorageFailed("gone", "the database is gone")

    def work(_connection: sa.Connection, _items: Sequence[int]) -> None:
        """Serve as a key."""

    batcher = Batcher(run)
    outcomes = await asyncio.gather(*(batcher.add(work, number) for number in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 3
    assert calls == [[0, 1, 2]]
