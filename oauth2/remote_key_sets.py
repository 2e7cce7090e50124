"""The JWK Set of an issuer at an https URL, which is fetched in the background before it expires."""

import asyncio
import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import ClientResponseError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from domain.errors import BudkavleError
from oauth2.key_sets import MAX_BYTES, KeySet, KeySetUnusable, parse_key_set

log = structlog.get_logger("budkavle.key_sets")

_MAX_AGE = re.compile(r'(?:^|[,\s])max-age="?([0-9]{1,9})"?(?=$|[,\s])', re.IGNORECASE)
_MUST_REVALIDATE = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?=$|[,\s])", re.IGNORECASE)

_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    # A compressed set could be larger than its limit once it is decompressed.
    "Accept-Encoding": "identity",
    "User-Agent": "budkavle",
}


@dataclass(frozen=True, slots=True)
class FetchTimes:
    """Times of fetches, in seconds."""

    timeout: float = 5.0
    """Maximum duration of a fetch, from the name look-up to the last byte."""
    shortest_age: float = 60.0
    longest_age: float = 3600.0
    """Limits of the age that a response may give with `max-age`."""
    default_age: float = 600.0
    unknown_key_interval: float = 30.0
    """Minimum time between two fetches for unknown keys."""
    first_retry: float = 5.0
    longest_retry: float = 60.0
    """Delay after a failed fetch, which doubles with each further one up to this."""


class FetchFailed(BudkavleError):
    """The JWK Set could not be fetched."""


class RemoteKeySet:
    """The keys at an https URL, a `KeySource`. The last good ones stay in use while fetches fail."""

    def __init__(
        self,
        url: str,
        *,
        times: FetchTimes | None = None,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tls` replaces the certificate authorities of the machine. Raises `ValueError` unless the URL is https."""
        if not url.lower().startswith("https://"):
            raise ValueError("a JWK Set is fetched over https only")
        self.failures = 0
        self._url = url
        self._times = times or FetchTimes()
        self._tls = tls
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._confirmed = 0.0
        self._fetch_at = 0.0
        self._failed_in_a_row = 0
        self._looked_for_keys: float | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Fetch the keys, and again before they expire, until `stop`."""
        # The first fetch is under way when this returns, so that the first callers wait for it.
        self._begin_fetch()
        self._refreshing = asyncio.create_task(self._refresh_forever())

    def stop(self) -> None:
        """End all fetches."""
        for task in (self._refreshing, self._fetch):
            if task is not None:
                task.cancel()

    def get_current(self) -> KeySet | None:
        """Return the keys, or None if no fetch has succeeded yet."""
        return self._keys

    def get_age(self) -> float | None:
        """Return the seconds since the last successful fetch, or None."""
        return None if self._keys is None else self._monotonic() - self._confirmed

    def get_retry_seconds(self) -> float:
        """Return the seconds until the next fetch."""
        return max(0.0, self._fetch_at - self._monotonic())

    async def wait_for_first(self) -> None:
        """Return after the fetch that is under way, if there is one."""
        if self._fetch is not None:
            # A caller that is cancelled must not cancel the fetch of the others.
            await asyncio.wait([self._fetch])

    async def look_for_new_keys(self) -> None:
        """Fetch the keys because of an unknown one, at most once per interval. Concurrent callers share the fetch."""
        if self._fetch is None:
            now = self._monotonic()
            if self._looked_for_keys is not None and now - self._looked_for_keys < self._times.unknown_key_interval:
                return
            self._looked_for_keys = now
            self._begin_fetch()
        await self.wait_for_first()

    async def fetch_once(self) -> KeySet:
        """Return the keys at the URL now. Raises `FetchFailed` with the cause."""
        try:
            keys, _ = await self._fetch_keys()
        except Exception as exc:
            raise FetchFailed(_describe(exc)) from exc
        return keys

    async def _refresh_forever(self) -> None:
        while True:
            await self.wait_for_first()
            await asyncio.sleep(self.get_retry_seconds())
            # A fetch for an unknown key may have moved the time of the next one.
            if self.get_retry_seconds() == 0:
                self._begin_fetch()

    def _begin_fetch(self) -> None:
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._update())

    async def _update(self) -> None:
        """Fetch the keys once, and decide when to fetch them again."""
        try:
            keys, age = await self._fetch_keys()
        except Exception as exc:  # noqa: BLE001  # No response may end the refreshing.
            self.failures += 1
            delay = min(self._times.first_retry * 2**self._failed_in_a_row, self._times.longest_retry)
            self._failed_in_a_row = min(self._failed_in_a_row + 1, 16)
            self._fetch_at = self._monotonic() + delay * random.uniform(0.8, 1.0)  # noqa: S311  # Not for security.
            log.warning("key_set_fetch_failed", key_set=self._url, reason=_describe(exc), has_keys=bool(self._keys))
        else:
            self._failed_in_a_row = 0
            self._confirmed = self._monotonic()
            # Spread the fetches of many processes, and leave time for another attempt before the set expires.
            self._fetch_at = self._confirmed + age * random.uniform(0.7, 0.9)  # noqa: S311  # Not for security.
            if keys != self._keys:
                self._keys = keys
                log.info("key_set_fetched", key_set=self._url, keys=len(keys.keys), max_age=age)
                if keys.ignored:
                    log.warning("keys_ignored", key_set=self._url, reasons=list(keys.ignored))
        finally:
            self._fetch = None

    async def _fetch_keys(self) -> tuple[KeySet, float]:
        """Return the keys at the URL, and the seconds for which they are fresh."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        async with (
            asyncio.timeout(self._times.timeout),
            ClientSession(
                connector=TCPConnector(ssl=self._tls, force_close=True),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=None),
                headers=_HEADERS,
                auto_decompress=False,
            ) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != 200:  # noqa: PLR2004  # The status of success.
                raise FetchFailed(f"status {response.status}")
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise KeySetUnusable(f"The JWK Set is larger than {MAX_BYTES} bytes")
            cache_control = ",".join(response.headers.getall("Cache-Control", ()))
        # A set with many unusable keys takes up to a second, during which callers must be served.
        return await asyncio.to_thread(parse_key_set, bytes(data)), self._compute_age(cache_control)

    def _compute_age(self, cache_control: str) -> float:
        """Return the seconds for which a response is fresh (RFC 9111, section 4.2), within the limits."""
        found = _MAX_AGE.search(cache_control)
        if _MUST_REVALIDATE.search(cache_control):
            return self._times.shortest_age
        age = self._times.default_age if found is None else float(found[1])
        return min(max(age, self._times.shortest_age), self._times.longest_age)


def _describe(error: Exception) -> str:
    """Return the cause of a failed fetch: no content of the response."""
    if isinstance(error, BudkavleError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no complete response in time"
    if isinstance(error, ClientResponseError):
        # Its text quotes the response.
        return "the response is not acceptable HTTP"
    return f"{type(error).__name__}: {error}"[:300]
