"""Isolated mocks, called worlds: the named ones below `/s/NAME/` of the server, and the one at its root."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from mock_open_e import Limits, MockOpenE
from mock_open_e.server.soap import create_app

if TYPE_CHECKING:
    from starlette.types import ASGIApp

T = TypeVar("T")

NAMES = 64
"""Maximum named worlds. A new one replaces the one that was idle for longest."""

NAMED_LIMITS = Limits(
    messages=5_000,
    text_bytes=4 * 2**20,
    file_bytes=16 * 2**20,
    events=5_000,
    journal_entries=500,
    journal_bytes=4 * 2**20,
)
"""Limits of a named world: a file of ten MiB fits, and all worlds together stay below 2 GiB."""


@dataclass(slots=True, eq=False)
class _Waiting:
    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        self.loop.call_soon_threadsafe(self.changed.set)


class World:
    """One mock behind the server. `revision` increases with each change; `soap` serves its callbacks.

    `list_names` returns the names of all worlds of the server.
    """

    def __init__(self, name: str, mock: MockOpenE, list_names: Callable[[], list[str]]) -> None:
        self.name = name
        self.mock = mock
        self.list_names = list_names
        self.soap: ASGIApp = create_app(mock)
        self.revision = 0
        self.is_closing = False
        self.running = 0
        """The number of running calls."""
        self._lock = threading.Lock()
        self._waiting: set[_Waiting] = set()
        self._stop = mock.watch(self._notify_change)

    async def wait_for(self, find: Callable[[], T | None], seconds: float) -> T | None:
        """Return the first result of `find` that is not None, evaluated after each change; None after the timeout."""
        waiting = _Waiting(asyncio.get_running_loop())
        with self._lock:
            self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    waiting.changed.clear()
                    found = find()
                    if found is not None or self.is_closing:
                        return found
                    await waiting.changed.wait()
        except TimeoutError:
            return find()
        finally:
            with self._lock:
                self._waiting.discard(waiting)

    def close(self) -> None:
        """End all waiting calls, including those that begin to wait later."""
        self.is_closing = True
        self._stop()
        self._notify_change()

    def _notify_change(self) -> None:
        with self._lock:
            self.revision += 1
            all_waiting = tuple(self._waiting)
        for waiting in all_waiting:
            waiting.notify()


class Worlds:
    """The root world and the named ones, which are created on first use with the root's scenario."""

    def __init__(self, root: MockOpenE, limit: int = NAMES) -> None:
        self.root = World("", root, self.list_names)
        self._limit = limit
        self._named: OrderedDict[str, World] = OrderedDict()
        self._is_closing = False

    def get(self, name: str) -> World:
        """Return the world with that name and mark it as the most recently used one."""
        world = self._named.get(name)
        if world is None:
            world = World(name, MockOpenE(scenario=self.root.mock.scenario, limits=NAMED_LIMITS), self.list_names)
            world.is_closing = self._is_closing
            self._named[name] = world
            self._remove_idle_world()
        self._named.move_to_end(name)
        return world

    def list_names(self) -> list[str]:
        """Return the existing names, sorted."""
        return sorted(self._named)

    def close(self) -> None:
        """End all waiting calls in all worlds, because the server stops."""
        self._is_closing = True
        for world in (self.root, *self._named.values()):
            if not world.is_closing:
                world.close()

    def _remove_idle_world(self) -> None:
        # The last one is the requested world.
        for name in list(self._named)[:-1]:
            if len(self._named) <= self._limit:
                return
            if not self._named[name].running:
                self._named.pop(name).close()
