"""Read messages and files of cases for callers, in threads of a separate pool."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from domain.case_messages import ShownFile, ShownMessage
from domain.errors import Overloaded
from domain.web_messages import OpenEName
from open_e.messageapi import MessageApi, build_list_path

P = ParamSpec("P")
T = TypeVar("T")


class CaseReads:
    """Runs at most `threads` reads concurrently, and half as many of one Open-E, so that a silent one blocks no other.

    A further read waits up to `queue_timeout` seconds. Errors are those of `MessageApi`, and `Overloaded` if the
    read could not begin in time.
    """

    def __init__(self, api: MessageApi, *, threads: int, queue_timeout: float) -> None:
        self._api = api
        self._threads = ThreadPoolExecutor(threads, "open-e-case-read")
        self._free = asyncio.Semaphore(threads)
        self._free_of_open_e: defaultdict[OpenEName, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(threads // 2)
        )
        self._queue_timeout = queue_timeout

    async def list_by_case(
        self, open_e: OpenEName, flow_instance_id: int, begin: str = "", end: str = ""
    ) -> list[ShownMessage]:
        """Return the messages on a case, of a period in minutes (`2024-03-25 13:16`); empty is unlimited."""
        return await self._list(open_e, build_list_path("flowinstance", flow_instance_id, begin, end))

    async def list_by_family(
        self, open_e: OpenEName, family_id: int, begin: str = "", end: str = ""
    ) -> list[ShownMessage]:
        """Return the messages on the cases of a flow family, as `list_by_case` does."""
        return await self._list(open_e, build_list_path("family", family_id, begin, end))

    async def read_file(self, open_e: OpenEName, attachment_id: int) -> ShownFile:
        """Return a file of a message. Raises `NotFound`."""
        return await self._run(self._api.read_file, open_e, attachment_id)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    async def _list(self, open_e: OpenEName, path: str) -> list[ShownMessage]:
        return await self._run(self._api.list_messages, open_e, path)

    async def _run(
        self, read: Callable[Concatenate[OpenEName, P], T], open_e: OpenEName, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with AsyncExitStack() as slots:
            try:
                async with asyncio.timeout(self._queue_timeout):
                    await slots.enter_async_context(self._free_of_open_e[open_e])
                    await slots.enter_async_context(self._free)
            except TimeoutError as exc:
                raise Overloaded("Open-E is busy: too many reads of it are waiting") from exc
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(read, open_e, *args, **kwargs))
