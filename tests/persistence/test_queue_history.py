"""The queue over time, from receipts and deliveries, on each database."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.deliveries import AttemptOutcome
from persistence.database import Database
from persistence.queue import claims
from persistence.queue.history import INTERVAL, QueueHistory, find_start, read_history
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import build_lease, build_settled, claim, publish
from tests.persistence.rows import execute

pytestmark = pytest.mark.anyio

END = datetime(2026, 3, 1, 12, 27, 31, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_find_start_returns_a_full_interval() -> None:
    assert find_start(END, 1) == datetime(2026, 3, 1, 12, 20, tzinfo=UTC)
    assert find_start(END, 3) == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def test_read_history_counts_arrivals_and_what_had_not_arrived(database: Database) -> None:
    await prepare(database)
    for system_id in SYSTEM_IDS[:2]:
        await sync(database, [build_entry()], system_id)
    start = find_start(END, 4)
    # Accepted before the first interval, in the first, and twice in the last one.
    for created in (start - MINUTE, start + MINUTE, END - MINUTE, END):
        await publish(database, created=created)
    moments = iter((start + INTERVAL, start + 2 * INTERVAL + MINUTE))
    for item in sorted(await claim(database, now=END, of={SYSTEM: 9}), key=lambda each: each.number)[:2]:
        await claims.settle(database, build_lease(now=END), [build_settled(item, AttemptOutcome.DONE)])
        text = next(moments).isoformat(sep=" ", timespec="microseconds")
        text = text.removesuffix("+00:00") if "Sqlite" in type(database).__name__ else text
        await execute(
            database, f"update receipts set last_attempt = '{text}' where id = '{_find_id(database, item.id)}'"
        )
    found = await read_history(database, start, 4)
    assert found == {
        SYSTEM: QueueHistory(SYSTEM, delivered=(0, 1, 1, 0), undelivered=(2, 1, 0, 2)),
        SYSTEM_IDS[1]: QueueHistory(SYSTEM_IDS[1], delivered=(0, 0, 0, 0), undelivered=(2, 2, 2, 4)),
    }


async def test_read_history_counts_times_of_the_future_as_now(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    await publish(database, created=END + timedelta(days=1))
    found = await read_history(database, find_start(END, 2), 2)
    assert found[SYSTEM].undelivered == (0, 1)


def _find_id(database: Database, id_: str) -> str:
    return id_.replace("-", "") if "Sqlite" in type(database).__name__ else id_
