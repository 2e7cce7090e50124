"""Read messages back from the event loop, in threads of a separate pool, so that calls that publish do not wait."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from domain.publications import Case, CaseMessage
from open_e import metrics
from open_e.messageapi import MessageApi, ReadBackFailed


class ReadBacks:
    """Runs at most `threads` read-backs concurrently."""

    def __init__(self, api: MessageApi, *, threads: int) -> None:
        self._api = api
        self._threads = ThreadPoolExecutor(threads, "open-e-read-back")

    async def read_case(self, case: Case, since: datetime) -> list[CaseMessage]:
        """Return the messages of a case. Raises the errors of `MessageApi.read_case`."""
        loop = asyncio.get_running_loop()
        try:
            messages = await loop.run_in_executor(self._threads, self._api.read_case, case, since)
        except ReadBackFailed:
            metrics.count_read_back(case.open_e, metrics.FAILED)
            raise
        metrics.count_read_back(case.open_e, metrics.ANSWERED)
        return messages

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api.close()
