"""Calls to receivers: each attempt is one POST."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from aiohttp.abc import AbstractResolver

from delivery.failures import map_error
from delivery.http_dates import parse_http_date
from delivery.payload import build_url, write_payload
from delivery.receivers import SessionPool
from delivery.references import ReceiverMisconfigured
from delivery.signing import build_signature_headers
from domain.deliveries import LONGEST_WAIT, MAX_STORED_RESPONSE, ClaimedDelivery, Reason, ReceiverResponse

MAX_READ = 16 * 1024
"""Maximum bytes of a response that are read. A connection with a longer response is closed."""

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "Budkavle",
    # Response bodies are stored as text and never decompressed.
    "Accept-Encoding": "identity",
}

_SECONDS = re.compile(r"[0-9]+", re.ASCII)

UNFRAMED_SECONDS = 1.0
"""Maximum seconds to read a body that has neither length nor chunks.

Some receivers send such a body and keep the connection open; the status counts without the rest.
"""


class ReceiverClient:
    """An HTTP client for receivers with pooled connections and unlimited concurrency."""

    def __init__(
        self, *, connect_timeout: float = 5, attempt_timeout: float = 15, resolver: AbstractResolver | None = None
    ) -> None:
        """Configure the timeouts, in seconds.

        `connect_timeout` covers name look-up, TCP and TLS. `attempt_timeout` covers the whole attempt. `resolver`
        replaces the name resolution of the machine.
        """
        timeout = ClientTimeout(
            total=attempt_timeout,
            connect=connect_timeout,
            # aiohttp rounds timeouts above this threshold up to whole seconds.
            ceil_threshold=attempt_timeout + connect_timeout,
        )
        self._sessions = SessionPool(timeout, resolver)

    async def send(self, claimed: ClaimedDelivery, now: datetime) -> ReceiverResponse:
        """Make one attempt (exactly one POST) and return its result. Raises only `CancelledError`.

        A response counts once it is complete or exceeds 16 KiB. A truncated response may come from a receiver that
        crashed.
        """
        try:
            session, keys = self._sessions.get_session(claimed.receiver, now)
        except ReceiverMisconfigured as exc:
            return ReceiverResponse(None, Reason.SETUP, detail=str(exc))
        try:
            with session:
                return await _post(session.http, keys, claimed, now)
        except (ClientError, OSError, ValueError, RuntimeError) as exc:
            # TimeoutError is a subclass of OSError. aiohttp raises ValueError for invalid headers and addresses. uvloop
            # raises RuntimeError for some sockets, and so does Python when it has no more threads for name look-ups.
            return map_error(exc, is_tls=claimed.receiver.base_url.startswith("https:"))

    async def close(self) -> None:
        """Close all connections. No call may be running."""
        await self._sessions.close()


async def _post(
    http: ClientSession, keys: Sequence[bytes], claimed: ClaimedDelivery, now: datetime
) -> ReceiverResponse:
    body = write_payload(claimed)
    headers = HEADERS | build_signature_headers(claimed.id, now, body, keys) | _build_trace_headers(claimed)
    response = await http.post(build_url(claimed), data=body, headers=headers, allow_redirects=False)
    try:
        received = await _read_beginning(response)
    finally:
        # aiohttp has already released a connection whose response was read completely.
        if response.connection is not None:
            response.close()
    is_accepted = 200 <= response.status < 300  # noqa: PLR2004  # The class of success, as HTTP numbers it.
    return ReceiverResponse(
        status=response.status,
        reason=None if is_accepted else Reason.HTTP,
        body=_decode_text(received),
        retry_after=_retry_after(response.headers.get("Retry-After"), now),
        request_hash=hashlib.sha256(body).hexdigest() if is_accepted else None,
    )


def _build_trace_headers(claimed: ClaimedDelivery) -> dict[str, str]:
    headers = {"x-request-id": claimed.request_id, "traceparent": claimed.trace_parent}
    return {name: value for name, value in headers.items() if value is not None}


async def _read_beginning(response: ClientResponse) -> bytes:
    content = response.content
    received = b""
    if "Content-Length" in response.headers or "Transfer-Encoding" in response.headers:
        while len(received) < MAX_READ and not content.at_eof():
            received += await content.read(MAX_READ - len(received))
        return received
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UNFRAMED_SECONDS):
            while len(received) < MAX_READ and not content.at_eof():
                received += await content.read(MAX_READ - len(received))
    return received


def _decode_text(received: bytes) -> str:
    """Return the beginning of a response as text without U+0000, which PostgreSQL rejects."""
    return received[:MAX_STORED_RESPONSE].decode(errors="replace").replace("\0", "\ufffd")


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Return the requested pause in seconds, or None if the field is missing or is invalid under RFC 9110."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        # Python rejects the conversion of numbers with thousands of digits.
        return float(min(LONGEST_WAIT, int(value[:10])))
    until = parse_http_date(value, now)
    if until is None:
        return None
    seconds = (until - now).total_seconds()
    return min(float(LONGEST_WAIT), seconds) if seconds >= 0 else None
