"""An event loop in its own thread, for long computations that must not block the event loop of the service."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines in another thread, which starts with the first coroutine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine and return its result. If the caller is cancelled, cancel the coroutine and await its end."""
        caller_loop, own_loop = asyncio.get_running_loop(), self._get_started_loop()
        ended: asyncio.Future[None] = caller_loop.create_future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = own_loop.create_task(work())
            tasks.append(task)
            task.add_done_callback(lambda _: caller_loop.call_soon_threadsafe(ended.set_result, None))

        def cancel() -> None:
            # Callbacks run in order, so `begin` has run already.
            tasks[0].cancel()

        own_loop.call_soon_threadsafe(begin)
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            own_loop.call_soon_threadsafe(cancel)
            await asyncio.wait([ended])
            raise
        return tasks[0].result()

    async def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the last coroutine and stop the thread. Do nothing if the thread was never started."""
        if self._loop is None or self._thread is None:
            return
        await self.run(last)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()
        self._loop = self._thread = None

    def _get_started_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            # Use a new context, because the loop keeps it: that of the caller contains a request.
            self._loop = Context().run(asyncio.new_event_loop)
            # As a daemon, the thread does not prevent the exit of a program that fails to close its database.
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
            self._thread.start()
        return self._loop
