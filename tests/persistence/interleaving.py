"""Runs two pieces of work on PostgreSQL in every order that their statements and commits can have.

Each piece of work runs on a connection of its own and stops before each statement that sees or changes deliveries or
changes subscriptions, and before each end of a transaction that changed any. A schedule decides which of the two goes
on. A statement that waits for a lock of the other counts as stopped until the lock is free. Statements that the program
runs in autocommit mode get a transaction with a separate commit here, so that the other work can run while their locks
are held, as it can while a long statement runs.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from persistence.database import NamedLocks, to_json

POLL_SECONDS = 0.001
SPINS = 3
DEADLINE_SECONDS = 120

_CHANGES = re.compile(r"(update|delete from) (deliveries|subscriptions)|from subscriptions .* for update")

Work = Callable[["SteppedDatabase"], Awaitable[Any]]


class SteppedDatabase:
    """Replaces a database: runs work on real connections, step by step as `go` permits."""

    def __init__(self, url: str) -> None:
        self.locks = NamedLocks()
        self.pid = 0
        self.is_rolled_back = False
        self._engine: AsyncEngine = create_async_engine(
            sa.make_url(url).set(drivername="postgresql+asyncpg"), pool_size=1, json_serializer=to_json
        )
        sa.event.listen(self._engine.sync_engine, "before_cursor_execute", self._before)
        self._at_gate = asyncio.Event()
        self._gate = asyncio.Semaphore(0)
        self._is_free = True
        self._has_changed = False

    def restart(self) -> None:
        """Stop before each step from now on."""
        self._is_free = False
        self._at_gate.clear()

    async def free(self) -> None:
        self._is_free = True
        async with self._engine.connect() as connection:
            self.pid = await connection.scalar(sa.text("select pg_backend_pid()"))

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        async with self._transaction() as connection:
            return await connection.run_sync(work, *args, **kwargs)

    read = mark = write

    async def close(self) -> None:
        await self._engine.dispose()

    @property
    def is_at_gate(self) -> bool:
        return self._at_gate.is_set()

    def go(self) -> None:
        """Permit one step."""
        self._at_gate.clear()
        self._gate.release()

    @asynccontextmanager
    async def _transaction(self) -> Any:
        async with self._engine.connect() as connection:
            transaction = await connection.begin()
            self._has_changed = False
            yield connection
            if self._has_changed:
                await self._arrive()
            await (transaction.rollback() if self.is_rolled_back else transaction.commit())

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _CHANGES.search(statement):
            self._has_changed = True
        if self._has_changed or "from deliveries" in statement:
            await_only(self._arrive())

    async def _arrive(self) -> None:
        if not self._is_free:
            self._at_gate.set()
            await self._gate.acquire()


class Interleaving:
    """Two stepped databases, and a connection that sees which of them waits for a lock."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._both = (SteppedDatabase(url), SteppedDatabase(url))

    @asynccontextmanager
    async def open(self) -> Any:
        self._watcher = await asyncpg.connect(self._url)
        for database in self._both:
            await database.free()
        try:
            yield self
        finally:
            await self._watcher.close()
            for database in self._both:
                await database.close()

    async def run(self, works: Sequence[Work], choices: Sequence[int]) -> list[int]:
        """Run both works once, and return which one continued at each point where either could have.

        `choices` decides the first of these points; the first work goes on at the others.
        """
        for database in self._both:
            database.restart()
        tasks = [asyncio.ensure_future(work(database)) for work, database in zip(works, self._both, strict=True)]
        path: list[int] = []
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                able = [place for place in (0, 1) if await self._is_able(place, tasks[place])]
                if not able:
                    if all(task.done() for task in tasks):
                        break
                    # PostgreSQL aborts one of two transactions that wait for each other: its task fails.
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                place = able[0]
                if len(able) > 1:
                    place = choices[len(path)] if len(path) < len(choices) else 0
                    path.append(place)
                self._both[place].go()
        for task in tasks:
            task.result()
        return path

    async def _is_able(self, place: int, task: asyncio.Future[Any]) -> bool:
        """Wait until a work has stopped; return whether it can go on."""
        database = self._both[place]
        for _ in range(SPINS):
            await asyncio.sleep(0)
        while not database.is_at_gate and not task.done():
            if await self._watcher.fetchval("select cardinality(pg_blocking_pids($1)) > 0", database.pid):
                return False
            await asyncio.sleep(POLL_SECONDS)
        return not task.done()


async def run_all(run: Callable[[Sequence[int]], Awaitable[list[int]]]) -> int:
    """Call `run` with every sequence of choices; return how many there were."""
    waiting: list[list[int]] = [[]]
    number = 0
    while waiting:
        choices = waiting.pop()
        path = await run(choices)
        number += 1
        waiting += [[*path[:place], 1] for place in range(len(choices), len(path))]
    return number
