"""The first page: health, the queue of each system, messages in doubt and pauses."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup
from starlette.responses import Response

from domain.deliveries import DeliveryState
from domain.web_messages import OepInstance, OpenEName
from handlers.metrics import DoubtFigures, QueueFigures, count_in_doubt
from handlers.operations_page.charts import draw_area, draw_bars, gather
from handlers.operations_page.history_watch import INTERVALS, Histories
from handlers.operations_page.page import Visit
from handlers.operations_page.texts import count, describe_age
from persistence import delivery_pauses, publication_statuses, systems
from persistence.queue.depth import Depth
from persistence.queue.history import QueueHistory

SHOWN = 50
"""Systems on the first page, those with trouble first."""

OLD_SECONDS = 900
"""Age of the oldest waiting delivery that counts as trouble, as in the alert rules."""

QUEUE_SECONDS = 0.25
"""Seconds that a page waits for a running count of the queue."""

SPARK = 120, 28
"""Width and height of the small chart of a system."""


@dataclass(frozen=True, slots=True)
class SystemRow:
    """One system in the table: its name, its queue, the word for its state, and a small chart."""

    name: str
    depth: Depth
    word: str
    tone: str
    chart: Markup | None

    @property
    def waiting(self) -> int:
        """The number of waiting deliveries."""
        return self.depth.deliveries[DeliveryState.WAITING]

    @property
    def parked(self) -> int:
        """The number of parked deliveries."""
        return self.depth.deliveries[DeliveryState.PARKED]


@dataclass(frozen=True, slots=True)
class Card:
    """One fact about the health of the installation. `address` has more about it."""

    title: str
    word: str
    tone: str
    text: str
    address: str | None = None


async def show_overview(visit: Visit) -> Response:
    """Show the state of everything, and those systems first that need attention."""
    services, now = visit.services, visit.now
    started = time.perf_counter()
    await services.database.check_health()
    milliseconds = (time.perf_counter() - started) * 1000
    figures, histories, listed, doubt, failing, pauses = await asyncio.gather(
        services.queue_watch.wait_for_figures(now, QUEUE_SECONDS),
        visit.context.history.find(now),
        systems.list_all(services.database),
        count_in_doubt(services.database, now, services.call_times.longest_call),
        publication_statuses.count_failing_cases(services.database),
        delivery_pauses.list_pauses(services.database, now),
    )
    names = {each.id: each.name for each in listed}
    rows = build_rows(names, figures, histories, now)
    is_all = "all" in visit.query
    cards = [
        Card("Database", "up", "good", f"Answers in {max(1, round(milliseconds))} ms."),
        describe_workers(figures, now),
        *(describe_open_e(visit, instance, failing) for instance in OepInstance),
        describe_doubt(doubt, now),
    ]
    values = {
        "current": "/operations",
        "cards": cards,
        "rows": rows if is_all else rows[:SHOWN],
        "left_out": 0 if is_all else max(0, len(rows) - SHOWN),
        "trouble": sum(row.tone in {"bad", "warn"} for row in rows),
        "has_bad_card": any(card.tone == "bad" for card in cards),
        "charts": None if histories is None else build_charts(histories.sum_up(), histories),
        "counted": figures,
        "counted_seconds": 0 if figures is None else asyncio.get_running_loop().time() - figures.counted,
        "pauses": pauses,
        "names": names,
    }
    return visit.render("overview.html", values)


def build_rows(
    names: dict[str, str], figures: QueueFigures | None, histories: Histories | None, now: datetime
) -> list[SystemRow]:
    """Return the rows of all systems, those with trouble first."""
    found = {} if histories is None else histories.systems
    rows = [
        SystemRow(
            names.get(depth.system_id, depth.system_id),
            depth,
            *judge(depth, now),
            _draw_spark(found.get(depth.system_id)),
        )
        for depth in (() if figures is None else figures.depths)
    ]
    order = {"bad": 0, "warn": 1, "info": 2, "good": 3}
    return sorted(
        rows, key=lambda row: (order[row.tone], -row.parked, -row.waiting, row.name.casefold(), row.depth.system_id)
    )


def judge(depth: Depth, now: datetime) -> tuple[str, str]:
    """Return the word and the tone for the queue of a system."""
    if depth.overdue:
        return "overdue", "bad"
    if depth.deliveries[DeliveryState.PARKED]:
        return "parked", "bad"
    if depth.failing and depth.oldest is not None and (now - depth.oldest).total_seconds() > OLD_SECONDS:
        return "failing", "bad"
    if depth.failing:
        return "failing", "warn"
    if depth.pauses:
        return "paused", "warn"
    return ("delivering", "info") if depth.deliveries[DeliveryState.WAITING] else ("idle", "good")


def describe_workers(figures: QueueFigures | None, now: datetime) -> Card:
    """Return whether workers keep up, which the due times of deliveries show."""
    if figures is None:
        return Card("Workers", "unknown", "warn", "The queue is being counted. Reload in a moment.")
    overdue = sum(depth.overdue for depth in figures.depths)
    waiting = sum(depth.deliveries[DeliveryState.WAITING] for depth in figures.depths)
    oldest = min((depth.oldest for depth in figures.depths if depth.oldest is not None), default=None)
    age = "" if oldest is None else f" The oldest waits for {describe_age(now, oldest)}."
    if overdue:
        late = count(overdue, "delivery is", "deliveries are")
        text = f"{late} more than a minute late: no worker runs, or too few.{age}"
        return Card("Workers", "behind", "bad", text)
    if not waiting:
        return Card("Workers", "nothing to do", "good", "Every delivery has arrived or is parked.")
    return Card(
        "Workers",
        "keeping up",
        "good",
        f"{count(waiting, 'delivery waits', 'deliveries wait')}, none too long for its turn.{age}",
    )


def describe_open_e(visit: Visit, instance: OepInstance, failing: Mapping[OpenEName, int]) -> Card:
    """Return what is known about an Open-E: this process calls none, but cases that could not be read are stored.

    `failing` has their number by Open-E. Those of municipalities with their own count with the shared one.
    """
    title = f"Open-E for {'citizens' if instance is OepInstance.EXTERNAL else 'staff'}"
    of_instance = {name: number for name, number in failing.items() if name.rpartition("/")[2] == instance}
    if of_instance:
        what = count(sum(of_instance.values()), "case")
        text = f"{what} with messages in doubt could not be read, in the Open-E {', '.join(of_instance)}."
        return Card(title, "failing", "bad", text, "/operations/messages")
    if visit.services.open_e.get_health(instance) == "NOT_CONFIGURED":
        return Card(title, "not configured", "info", "Messages to its cases are refused.")
    return Card(title, "no failures", "good", "No failed read of a case is known.")


def describe_doubt(doubt: DoubtFigures | None, now: datetime) -> Card:
    """Return how many messages are in doubt, and for how long. Without `doubt` the database did not count them."""
    if doubt is None:
        return Card("Messages in doubt", "not known", "warn", "The database did not count them in time.")
    number = sum(doubt.messages.values())
    if not number:
        return Card("Messages in doubt", "none", "good", "Open-E has answered about every message.")
    age = describe_age(now, now - timedelta(seconds=doubt.oldest_seconds))
    text = f"The oldest was sent {age} ago."
    return Card("Messages in doubt", f"{number:,}", "bad", text, "/operations/messages")


@dataclass(frozen=True, slots=True)
class Charts:
    """Two charts over the same time, with what they show in words."""

    start: datetime
    counted: datetime
    undelivered: Markup
    most_undelivered: int
    now_undelivered: int
    delivered: Markup
    most_delivered: int
    total_delivered: int


_COUNTED = "Not delivered, counted every 10 minutes over 24 hours"


def build_charts(history: QueueHistory, histories: Histories) -> Charts:
    """Return the charts of one history of these, or of their sum."""
    most, total = max(history.undelivered), sum(history.delivered)
    return Charts(
        start=histories.start,
        counted=histories.counted,
        undelivered=draw_area(
            history.undelivered,
            f"{_COUNTED}: at most {most:,}, at last {history.undelivered[-1]:,}.",
        ),
        most_undelivered=most,
        now_undelivered=history.undelivered[-1],
        delivered=draw_bars(
            history.delivered,
            f"Delivered, over 24 hours: {total:,}, at most {max(history.delivered):,} in ten minutes.",
        ),
        most_delivered=max(history.delivered),
        total_delivered=total,
    )


def build_empty_history(system_id: str) -> QueueHistory:
    """Return the history of a system without deliveries."""
    return QueueHistory(system_id, (0,) * INTERVALS, (0,) * INTERVALS)


def _draw_spark(history: QueueHistory | None) -> Markup | None:
    if history is None or not any(history.undelivered):
        return None
    numbers = gather(history.undelivered, 6)
    label = f"{_COUNTED}: at most {max(numbers):,}"
    return draw_area(numbers, label, width=SPARK[0], height=SPARK[1])
