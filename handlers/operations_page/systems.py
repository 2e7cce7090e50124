"""One system: its queue, stuck deliveries and why, pauses and last receipts; and a replay of parked deliveries."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from domain.audit import AuditEntry
from domain.deliveries import QueuedDelivery
from domain.delivery_pauses import DeliveryPause
from domain.errors import Invalid, NotFound, Violation
from handlers.metrics import QueueFigures
from handlers.operations_page import texts
from handlers.operations_page.overview import QUEUE_SECONDS, build_charts, build_empty_history, judge
from handlers.operations_page.page import ROOT, Visit
from persistence import audit, deliveries, delivery_pauses, receipts, systems
from persistence.queue import back_offs as stored_back_offs
from persistence.queue.depth import Depth
from persistence.systems import SystemSummary

PAGE = 50
"""Deliveries on one page."""

FEW = 10
"""Deliveries of each list on the page of a system."""

LAST = 5
"""The last receipts and entries of the audit on that page."""

BATCH = 500
"""Deliveries that are replayed together, as by the command: few enough not to delay workers."""

MAX_REPLAYED = 20_000
"""Deliveries that one form replays, so that the browser gets its answer in time."""


async def show_system(visit: Visit) -> Response:
    """Show one system, and what is stuck in its queue."""
    database, now = visit.services.database, visit.now
    system = await find_system(visit, visit.get_id())
    figures = await visit.services.queue_watch.wait_for_figures(now, QUEUE_SECONDS)
    depth = find_depth(figures, system.id)
    histories = await visit.context.history.find(now)
    history = None if histories is None else histories.systems.get(system.id, build_empty_history(system.id))
    pauses = await list_pauses(visit, system.id)
    whole = next((each for each in pauses if each.identity is None), None)
    values = {
        "current": None,
        "system": system,
        "depth": depth,
        "verdict": ("paused", "warn") if whole is not None else None if depth is None else judge(depth, now),
        "counted": None if figures is None else asyncio.get_running_loop().time() - figures.counted,
        "charts": None if history is None or histories is None else build_charts(history, histories),
        "pauses": pauses,
        "pause": whole,
        "back_offs": await stored_back_offs.list_back_offs(database, system.id, now, FEW),
        "lists": {
            "parked": await list_stuck(visit, system.id, "parked", FEW),
            "blocked": await list_stuck(visit, system.id, "blocked", FEW),
            "waiting": await list_stuck(visit, system.id, "waiting", FEW),
        },
        "few": FEW,
        "receipts": await receipts.list_latest(database, system.id, LAST),
        "entries": await audit.list_latest(database, system.id, LAST),
    }
    return visit.render("system.html", values)


async def show_deliveries(visit: Visit) -> Response:
    """Show one list of a system, page by page."""
    system = await find_system(visit, visit.get_id())
    kind = visit.get_parameter("kind")
    if kind not in {"parked", "blocked", "waiting"}:
        raise NotFound("There is no such list.")
    after = visit.query.get("after", "")
    items = await list_stuck(visit, system.id, kind, PAGE + 1, after)
    is_last = len(items) <= PAGE or kind == "blocked"
    items = items[:PAGE]
    values = {
        "current": None,
        "system": system,
        "kind": kind,
        "items": items,
        "next": None if is_last else write_position(items[-1], kind),
        "is_first": not after,
        "pauses": await list_pauses(visit, system.id),
        "back_offs": await stored_back_offs.list_back_offs(visit.services.database, system.id, visit.now, FEW),
    }
    return visit.render("deliveries.html", values)


async def list_stuck(visit: Visit, system_id: str, kind: str, limit: int, after: str = "") -> list[QueuedDelivery]:
    """Return undelivered deliveries of a kind. `after` is a text of `write_position`, or empty. Raises `NotFound`."""
    database = visit.services.database
    moment, number = _read_position(after)
    if kind == "parked":
        return await deliveries.list_parked(database, system_id, number, limit)
    if kind == "waiting":
        return await deliveries.list_waiting(database, system_id, None if moment is None else (moment, number), limit)
    return await deliveries.list_blocked(database, system_id, limit)


def write_position(item: QueuedDelivery, kind: str) -> str:
    """Return the position after a delivery in a list: its number, and before it the due time in microseconds."""
    if kind != "waiting" or item.due is None:
        return str(item.number)
    return f"{(item.due - _EPOCH) // _MICROSECOND}.{item.number}"


def _read_position(after: str) -> tuple[datetime | None, int]:
    if not after:
        return None, 0
    found = _POSITION.fullmatch(after)
    if found is None:
        raise NotFound("There is no such page of the list.")
    moment = found["moment"]
    return None if moment is None else _EPOCH + int(moment) * _MICROSECOND, int(found["number"])


_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

_POSITION = re.compile(r"(?:(?P<moment>[0-9]{1,17})\.)?(?P<number>[0-9]{1,18})", re.ASCII)
"""The text of `write_position`. Larger numbers are no 64-bit integers, or later than the year 5000."""


async def find_system(visit: Visit, system_id: str) -> SystemSummary:
    """Return a system. Raises `NotFound`."""
    system = await systems.find(visit.services.database, system_id)
    if system is None:
        raise NotFound(f"The catalogue has no system {system_id}.")
    return system


async def show_replay(visit: Visit) -> Response:
    """Ask for the confirmation of a replay of all parked deliveries of a system."""
    system = await find_system(visit, visit.get_id())
    summary = await deliveries.summarise_parked(visit.services.database, system.id)
    if not summary.count:
        raise NotFound("No delivery of this system is parked.")
    what = texts.count(summary.count, "parked delivery", "parked deliveries")
    sentences = [
        f"{what} of {system.name} will be sent again at once, the oldest first.",
        "A delivery that the receiver rejects again is parked again. What is parked from now on is not included.",
    ]
    if summary.count > MAX_REPLAYED:
        sentences.append(f"At most {MAX_REPLAYED:,} are replayed at once. Repeat this for the others.")
    sentences += [f"But: {texts.describe_pause(each)}" for each in await list_pauses(visit, system.id)]
    shown = min(summary.count, MAX_REPLAYED)
    values = {
        "current": None,
        "title": f"Replay {texts.count(shown, 'delivery', 'deliveries')}?",
        "sentences": sentences,
        "hidden": {"last": summary.last},
        "button": f"Replay {texts.count(shown, 'delivery', 'deliveries')}",
        "tone": "primary",
        "cancel": f"{ROOT}/systems/{system.id}",
    }
    return visit.render("confirm.html", values)


async def replay(visit: Visit) -> Response:
    """Replay the parked deliveries of a system that the confirmation counted."""
    system = await find_system(visit, visit.get_id())
    last = visit.form.get("last", "")
    if not _POSITION.fullmatch(last) or "." in last:
        raise Invalid([Violation("last", "must be a number of the confirmation page")])
    replayed = skipped = after = 0
    while replayed + skipped < MAX_REPLAYED:
        page = await deliveries.list_parked(visit.services.database, system.id, after, BATCH)
        page = [item for item in page if item.number <= int(last)]
        if not page:
            break
        after = page[-1].number
        done = await replay_audited(visit, system.id, [item.id for item in page])
        replayed += len(done)
        skipped += len(page) - len(done)
    sentences = [f"{texts.count(replayed, 'delivery', 'deliveries')} of {system.name} will be sent now."]
    if skipped:
        left = texts.count(skipped, "delivery", "deliveries")
        sentences.append(f"{left} could not be replayed, because something else is changing them.")
    links = [(f"Back to {system.name}", f"{ROOT}/systems/{system.id}")]
    return visit.finish(
        f"Replayed {texts.count(replayed, 'delivery', 'deliveries')}",
        sentences,
        links,
        tone="good" if replayed else "warn",
    )


async def replay_audited(visit: Visit, system_id: str, ids: Sequence[str]) -> set[str]:
    """Replay deliveries of a system, record that in its audit, and wake the workers. Return the replayed ids."""
    entry = AuditEntry(
        chain=system_id,
        kind="call",
        time=visit.services.now(),
        operation="deliveries replay",
        caller=visit.caller,
        outcome="changed",
        request_id=visit.request_id,
        detail={},
    )
    replayed = await deliveries.replay(visit.services.database, ids, entry)
    if replayed:
        visit.services.wake_worker()
    return replayed


def find_depth(figures: QueueFigures | None, system_id: str) -> Depth | None:
    """Return the figures of one system, or None before the first count."""
    return None if figures is None else next((each for each in figures.depths if each.system_id == system_id), None)


async def list_pauses(visit: Visit, system_id: str) -> list[DeliveryPause]:
    """Return the pauses of a system and its subscriptions that are in force."""
    return await delivery_pauses.list_pauses(visit.services.database, visit.now, system_id)
