"""Read messages and files of cases for callers, in threads of a separate pool."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from domain.case_messages import ShownFile, ShownMessage
from domain.web_messages import OpenEName
from open_e.messageapi import MessageApi, build_list_path


class CaseReads:
    """Runs at most `threads` reads concurrently; others wait. Errors are those of `MessageApi`."""

    def __init__(self, api: MessageApi, *, threads: int) -> None:
        self._api = api
        self._threads = ThreadPoolExecutor(threads, "open-e-case-read")

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
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._api.read_file, open_e, attachment_id)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    async def _list(self, open_e: OpenEName, path: str) -> list[ShownMessage]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._api.list_messages, open_e, path)
