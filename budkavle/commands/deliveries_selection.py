"""Bulk operations on deliveries: in pages, with progress, and audited for each system."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from budkavle.commands.progress import show_progress
from domain.audit import AuditEntry
from domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime

    from domain.deliveries import DeliveryState, QueuedDelivery, Reason
    from persistence.database import Database

    ChangeDeliveries = Callable[[Database, list[str], datetime], Awaitable[set[str]]]
    """A function that changes deliveries with these ids, and returns the ids of those that were changed."""

PAGE = 500
"""Deliveries that are read and changed together: few enough not to delay workers."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The common properties of the selected deliveries; None matches all."""

    system_id: str | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    reason: Reason | None = None
    event_id: str | None = None
    until: datetime | None = None

    def matches(self, item: QueuedDelivery) -> bool:
        """Return whether a delivery matches those properties that the query does not filter."""
        return (
            (self.since is None or item.created >= self.since)
            and (self.until is None or item.created < self.until)
            and self.reason in {None, item.reason}
            and self.event_id in {None, item.event_id}
        )


@dataclass(frozen=True, slots=True)
class Action:
    """An operation on deliveries: its name, the participle for changed deliveries, and the function that changes them.

    `request_id` identifies this run in the audit log, and `operator` is who ordered it.
    """

    name: str
    participle: str
    now: Callable[[], datetime]
    request_id: str
    change: ChangeDeliveries
    operator: str


async def select(database: Database, selection: Selection) -> AsyncIterator[list[QueuedDelivery]]:
    """Yield the selected deliveries in pages, oldest first. Deliveries that were changed do not appear again."""
    from persistence import deliveries as stored

    after, is_last = 0, False
    while not is_last:
        page = await stored.list_page(database, selection.system_id, selection.state, after, PAGE)
        is_last = len(page) < PAGE
        after = page[-1].number if page else after
        yield [item for item in page if selection.matches(item)]


async def run_action(database: Database, action: Action, chosen: Selection | Sequence[str]) -> tuple[int, list[str]]:
    """Run the operation on deliveries, chosen by properties or ids. Return the number changed, and the other ids.

    The audit log of each system records the operation, even if it was interrupted.
    """
    done, left = Counter[str](), list[str]()
    pages = select(database, chosen) if isinstance(chosen, Selection) else _read_by_ids(database, chosen, left)
    try:
        with show_progress(f"Deliveries {action.participle}:") as report:
            async for page in pages:
                changed = await action.change(database, [item.id for item in page], action.now()) if page else set()
                done.update(item.system_id for item in page if item.id in changed)
                left += [item.id for item in page if item.id not in changed]
                report(done.total())
    finally:
        await _record(database, action, done)
    return done.total(), left


async def _read_by_ids(database: Database, ids: Sequence[str], left: list[str]) -> AsyncIterator[list[QueuedDelivery]]:
    """Yield the deliveries with these ids in pages, and add unknown ids to `left`."""
    from persistence import deliveries as stored

    for place in range(0, len(ids), PAGE):
        found = []
        for id_ in ids[place : place + PAGE]:
            try:
                found.append(await stored.get(database, id_))
            except NotFound:
                left.append(id_)
        yield found


async def _record(database: Database, action: Action, done: Counter[str]) -> None:
    from persistence import audit

    for system_id, number in sorted(done.items()):
        entry = AuditEntry(
            chain=system_id,
            kind="call",
            time=action.now(),
            operation=f"deliveries {action.name}",
            caller=action.operator,
            outcome="changed",
            request_id=action.request_id,
            detail={"deliveries": number},
        )
        await audit.record(database, entry)
