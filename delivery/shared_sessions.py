"""HTTP sessions that several receivers share."""

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import ClientSession


class SharedSession:
    """A session of receivers. Make calls inside `with session:`; a retired session closes after its last call."""

    def __init__(self, http: ClientSession) -> None:
        self.http = http
        self.receivers = 0
        self._calls = 0
        self._closing: set[asyncio.Task[None]] | None = None

    def __enter__(self) -> Self:
        self._calls += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls -= 1
        self._close_if_over()

    def retire(self, closing: set[asyncio.Task[None]]) -> None:
        """Reject new calls. The session is closed after the last running call, in a task that is added to `closing`."""
        self._closing = closing
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._calls == 0 and self._closing is not None:
            task = asyncio.get_running_loop().create_task(self.http.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
