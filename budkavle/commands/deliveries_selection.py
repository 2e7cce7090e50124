"""What operators do to many deliveries at once: in pieces, with progress, and in the audit of each system."""

import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from domain.audit import AuditEntry
from domain.deliveries import DeliveryState, QueuedDelivery, Reason
from domain.errors import NotFound
from persistence import audit
from persistence import deliveries as stored
from persistence.database import Database

Do = Callable[[Database, list[str], datetime], Awaitable[set[str]]]
"""Does something to deliveries with these ids, and returns those to which it was done."""

PAGE = 500
"""Deliveries that are read and changed at once: workers do not wait long for so many."""

PROGRESS_SECONDS = 10
"""How often somebody who is at no terminal is told how far it is."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What deliveries have in common; None stands for any."""

    system_id: str | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    reason: Reason | None = None

    def takes(self, item: QueuedDelivery) -> bool:
        """Whether it is one of them, of what no page is asked for."""
        return (self.since is None or item.created >= self.since) and self.reason in {None, item.reason}


@dataclass(frozen=True, slots=True)
class Action:
    """What is done: its name, what is said of those it is done to, and how it is done to some of them.

    `request_id` names this time in the audit.
    """

    name: str
    done: str
    now: Callable[[], datetime]
    request_id: str
    do: Do


async def select(database: Database, selection: Selection) -> AsyncIterator[list[QueuedDelivery]]:
    """The deliveries, the oldest first, in pages as they are read; what a page is changed to is not met again."""
    after, is_last = 0, False
    while not is_last:
        page = await stored.list_page(database, selection.system_id, selection.state, after, PAGE)
        is_last = len(page) < PAGE
        after = page[-1].number if page else after
        yield [item for item in page if selection.takes(item)]


async def carry_out(database: Database, action: Action, what: Selection | Sequence[str]) -> tuple[int, list[str]]:
    """Does it to what is named or selected; returns how many it was done to, and the ids of those left as they are.

    The audit of each system tells of it, also when it was broken off.
    """
    progress, done, left = _Progress(action), Counter[str](), list[str]()
    pages = select(database, what) if isinstance(what, Selection) else _named(database, what, left)
    try:
        async for page in pages:
            changed = await action.do(database, [item.id for item in page], action.now()) if page else set()
            done.update(item.system_id for item in page if item.id in changed)
            left += [item.id for item in page if item.id not in changed]
            progress.tell(done.total())
    finally:
        await _record(database, action, done)
    return done.total(), left


async def _named(database: Database, ids: Sequence[str], left: list[str]) -> AsyncIterator[list[QueuedDelivery]]:
    for place in range(0, len(ids), PAGE):
        found = []
        for id_ in ids[place : place + PAGE]:
            try:
                found.append(await stored.get(database, id_))
            except NotFound:
                left.append(id_)
        yield found


async def _record(database: Database, action: Action, done: Counter[str]) -> None:
    for system_id, number in sorted(done.items()):
        entry = AuditEntry(
            chain=system_id,
            kind="call",
            time=action.now(),
            operation=f"deliveries {action.name}",
            # Whoever may run commands on this database.
            caller="-",
            outcome="changed",
            request_id=action.request_id,
            detail={"deliveries": number},
        )
        await audit.record(database, entry)


class _Progress:
    """Says on standard error how far it is: after each page at a terminal, elsewhere only if it lasts."""

    def __init__(self, action: Action) -> None:
        self._action = action
        self._is_watched = sys.stderr.isatty()
        self._next = time.monotonic() + PROGRESS_SECONDS

    def tell(self, number: int) -> None:
        if self._is_watched or time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            click.echo(f"{number} {self._action.done}", err=True)
