"""Work in the background that a signal ends."""

import asyncio
from abc import ABC, abstractmethod


class BackgroundWork(ABC):
    """Work that runs until `stop`."""

    def __init__(self) -> None:
        self._work: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Work until `stop`. Raises the errors of the work."""
        self._work = asyncio.create_task(self._run_forever())
        if self._is_stopping:
            self._work.cancel()
        await asyncio.wait([self._work])
        if not self._work.cancelled():
            self._work.result()

    def stop(self) -> None:
        """End `run` at once, even while the database does not respond."""
        self._is_stopping = True
        if self._work is not None:
            self._work.cancel()

    @abstractmethod
    async def _run_forever(self) -> None:
        """Work until it is cancelled."""
