"""Look up legal ids of persons in the party service, for messages of the owners of cases (decision 0042).

A legal id is a personal number. It is sent to Open-E, and neither logged nor stored. Errors contain no part of a
response except its status.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import requests
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as SlowPeer

from domain.errors import NotFound, PersonLookUpFailed, PersonLookUpTimedOut
from open_e.connections import CallDeadline, DeadlineAdapter, apply_deadline

UNKNOWN_PERSON = "The provided partyId doesn't match any person!"

THREADS = 8
"""Concurrent look-ups of one process. Others wait for at most the timeout."""

MAX_BYTES = 1024
"""Maximum bytes of a response."""

_LEGAL_ID = re.compile(r"\"?([0-9]{6}(?:[0-9]{2})?[-+]?[0-9]{4})\"?", re.ASCII)


class Parties:
    """Asks the party service. The path of a call is that of `url`, with the municipality and the party after it.

    `timeout` in seconds limits a whole call; at most half of it is spent on connecting. `ca` is a file with the CA of
    the service, None for public ones.
    """

    def __init__(self, url: str, *, ca: str | None, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._ca = ca
        self._timeout = timeout
        self._adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=THREADS, max_retries=0)
        self._threads = ThreadPoolExecutor(THREADS, "party-look-up")
        self._free = asyncio.Semaphore(THREADS)

    async def find_legal_id(self, municipality_id: str, party_id: str, request_id: str) -> str:
        """Return the legal id of a person.

        Raises `NotFound` if the party service does not know the person, `PersonLookUpTimedOut` and
        `PersonLookUpFailed`.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError as exc:
            raise PersonLookUpTimedOut("Too many look-ups in the party service are waiting") from exc
        try:
            loop = asyncio.get_running_loop()
            url = f"{self._url}/{municipality_id}/PRIVATE/{party_id}/legalId"
            return await loop.run_in_executor(self._threads, self._get, url, request_id)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close idle connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._adapter.close()

    def _get(self, url: str, request_id: str) -> str:
        headers = {"Accept": "text/plain", "Accept-Encoding": "identity", "x-request-id": request_id}
        request = requests.Request("GET", url, headers=headers).prepare()
        connect_timeout = self._timeout / 2
        read_timeout = self._timeout - connect_timeout
        call = CallDeadline(connect_timeout=connect_timeout, read_timeout=read_timeout)
        try:
            with (
                apply_deadline(call),
                self._adapter.send(request, stream=True, timeout=read_timeout, verify=self._ca or True) as response,
            ):
                return _read_legal_id(response)
        # The texts of these errors have the URL, which names the person.
        except (TimeoutError, requests.Timeout, SlowPeer) as error:
            raise PersonLookUpTimedOut(reason=type(error).__name__) from None
        except (OSError, HTTPError) as error:
            raise PersonLookUpFailed("The party service cannot be reached", type(error).__name__) from None


def _read_legal_id(response: requests.Response) -> str:
    if response.status_code == requests.codes.not_found:
        raise NotFound(UNKNOWN_PERSON)
    if response.status_code != requests.codes.ok:
        raise PersonLookUpFailed(f"The party service answered {response.status_code}")
    body: bytes = response.raw.read(MAX_BYTES + 1, decode_content=True)
    found = _LEGAL_ID.fullmatch(body.decode("ascii", "replace").strip())
    if found is None:
        raise PersonLookUpFailed("The party service answered without a legal id")
    return found[1]
