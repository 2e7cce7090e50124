"""The first page shows which systems need attention, and whether workers keep up."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.deliveries import DeliveryState
from handlers.metrics import QueueFigures
from handlers.operations_page.history_watch import INTERVALS, Histories, HistoryWatch
from handlers.operations_page.overview import build_rows, describe_workers, judge
from persistence.database import Database
from persistence.queue.depth import Depth
from persistence.queue.history import QueueHistory
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, build_entry, prepare, sync
from tests.persistence.queues import publish
from tests.waiting import wait_until

OLD = NOW - timedelta(hours=1)


def build_depth(waiting: int = 0, parked: int = 0, **changes: Any) -> Depth:
    counts = {DeliveryState.WAITING: waiting, DeliveryState.PARKED: parked}
    values = {"system_id": SYSTEM, "oldest": NOW if waiting else None, "overdue": 0} | changes
    return Depth(deliveries=counts, **values)


@pytest.mark.parametrize(
    ("depth", "verdict"),
    [
        (build_depth(), ("idle", "good")),
        (build_depth(1), ("delivering", "info")),
        (build_depth(1, pauses=1), ("paused", "warn")),
        (build_depth(1, failing=1), ("failing", "warn")),
        (build_depth(1, failing=1, oldest=OLD), ("failing", "bad")),
        (build_depth(1, 1), ("parked", "bad")),
        (build_depth(1, 1, overdue=1), ("overdue", "bad")),
    ],
)
def test_judge_returns_the_worst_fact(depth: Depth, verdict: tuple[str, str]) -> None:
    assert judge(depth, NOW) == verdict


def test_rows_begin_with_trouble() -> None:
    depths = [build_depth(5, system_id="b"), build_depth(system_id="a"), build_depth(0, 1, system_id="c")]
    rows = build_rows({"a": "A", "b": "B"}, QueueFigures(tuple(depths), None, 0.0), None, NOW)
    assert [row.name for row in rows] == ["c", "B", "A"]
    assert build_rows({}, None, None, NOW) == []


def test_workers_are_judged_by_late_deliveries() -> None:
    def describe(*depths: Depth) -> tuple[str, str]:
        card = describe_workers(QueueFigures(depths, None, 0.0), NOW)
        return card.word, card.tone

    assert describe(build_depth()) == ("nothing to do", "good")
    assert describe(build_depth(2)) == ("keeping up", "good")
    assert describe(build_depth(2, overdue=1)) == ("behind", "bad")
    assert describe_workers(None, NOW).word == "unknown"


def test_histories_are_summed_up() -> None:
    ones = QueueHistory("a", (1,) * INTERVALS, (2,) * INTERVALS)
    found = Histories(NOW, NOW, {"a": ones, "b": ones}).sum_up()
    assert (set(found.delivered), set(found.undelivered), len(found.delivered)) == ({2}, {4}, INTERVALS)
    assert set(Histories(NOW, NOW, {}).sum_up().delivered) == {0}


@pytest.mark.anyio
async def test_history_is_counted_in_the_background_and_kept_for_a_while(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    watch = HistoryWatch(database)
    found = None

    async def look() -> None:
        nonlocal found
        found = await watch.find(NOW)

    await look()
    if found is None:
        tasks = {asyncio.create_task(look())}
        await asyncio.wait(tasks)
        await wait_until(lambda: watch._found is not None)
        await look()
    assert found is not None
    await publish(database)
    assert await watch.find(NOW + timedelta(seconds=1)) is found
