"""Bulk operations on deliveries: by system, in pages that are audited with their changes, with progress."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from budkavle.commands.progress import show_progress
from domain.audit import AuditEntry
from domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from datetime import datetime

    from domain.deliveries import DeliveryState, QueuedDelivery, Reason
    from persistence.database import Database

    ChangeDeliveries = Callable[[Database, Collection[str], AuditEntry], Awaitable[set[str]]]
    """A function that changes deliveries of the system whose chain the entry is for, and records the entry.

    It does both in one transaction, and returns the ids of the changed deliveries.
    """

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
    """Run the operation on deliveries, chosen by properties or ids. Return the number changed, and the other ids."""
    done, left = 0, list[str]()
    pages = _select_by_system(database, chosen) if isinstance(chosen, Selection) else _read(database, chosen, left)
    with show_progress(f"Deliveries {action.participle}:") as report:
        async for page in pages:
            ids = [item.id for item in page]
            changed = await action.change(database, ids, _build_entry(action, page[0].system_id))
            done += len(changed)
            left += [id_ for id_ in ids if id_ not in changed]
            report(done)
    return done, left


async def _select_by_system(database: Database, selection: Selection) -> AsyncIterator[list[QueuedDelivery]]:
    """Yield the selected deliveries in pages, each of one system, oldest first."""
    from persistence import systems

    given = selection.system_id
    for system_id in [system.id for system in await systems.list_all(database)] if given is None else [given]:
        async for page in select(database, replace(selection, system_id=system_id)):
            if page:
                yield page


async def _read(database: Database, ids: Sequence[str], left: list[str]) -> AsyncIterator[list[QueuedDelivery]]:
    """Yield the deliveries with these ids in pages, each of one system, and add unknown ids to `left`."""
    from persistence import deliveries as stored

    found: dict[str, list[QueuedDelivery]] = {}
    for id_ in ids:
        try:
            item = await stored.get(database, id_)
        except NotFound:
            left.append(id_)
        else:
            found.setdefault(item.system_id, []).append(item)
    for system_id in sorted(found):
        for place in range(0, len(found[system_id]), PAGE):
            yield found[system_id][place : place + PAGE]


def _build_entry(action: Action, system_id: str) -> AuditEntry:
    return AuditEntry(
        chain=system_id,
        kind="call",
        time=action.now(),
        operation=f"deliveries {action.name}",
        caller=action.operator,
        outcome="changed",
        request_id=action.request_id,
        detail={},
    )
