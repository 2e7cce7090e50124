"""Calls to receivers: one attempt, one POST, one answer."""

import asyncio
import contextlib
import re
from datetime import datetime

from aiohttp import ClientError, ClientResponse, ClientTimeout
from aiohttp.abc import AbstractResolver

from delivery.failures import failed
from delivery.http_dates import parse_http_date
from delivery.payload import address_of, write_payload
from delivery.receivers import Line, Receivers
from delivery.references import SetupWrong
from delivery.signing import signature_headers
from domain.deliveries import LONGEST_WAIT, MAX_ANSWER, Answer, Claimed, Reason

MAX_READ = 16 * 1024
"""Bytes of an answer that are read. What is longer is not waited for: its connection is closed."""

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "Budkavle",
    # What an answer says is kept as text, and nothing is unpacked here.
    "Accept-Encoding": "identity",
}

_SECONDS = re.compile(r"[0-9]+", re.ASCII)

UNFRAMED_SECONDS = 1.0
"""How long a body is read that only the end of its connection ends. Some receivers send no length and keep the
connection open: their status counts without the rest."""


class Calls:
    """Calls receivers, any number at once, over connections that are kept."""

    def __init__(
        self, *, connect_timeout: float = 5, attempt_timeout: float = 15, resolver: AbstractResolver | None = None
    ) -> None:
        """Takes seconds: until a connection is there, name and TLS included; until an attempt is over, at most.

        `resolver` looks names up instead of this machine.
        """
        timeout = ClientTimeout(
            total=attempt_timeout,
            connect=connect_timeout,
            # aiohttp rounds timeouts from here on up to whole seconds.
            ceil_threshold=attempt_timeout + connect_timeout,
        )
        self._receivers = Receivers(timeout, resolver)

    async def send(self, claimed: Claimed, now: datetime) -> Answer:
        """Makes one attempt, exactly one POST, and tells what it met. Raises nothing but `CancelledError`.

        An answer counts when all of it has come, or 16 KiB: one that is cut off may be of a receiver that broke down.
        """
        try:
            line = self._receivers.line(claimed.receiver, now)
        except SetupWrong as exc:
            return Answer(None, Reason.SETUP, detail=str(exc))
        try:
            with line:
                return await _post(line, claimed, now)
        except (ClientError, OSError, ValueError, RuntimeError) as exc:
            # TimeoutError is an OSError too. aiohttp raises ValueError for headers and addresses; RuntimeError comes of
            # uvloop for some sockets, and of Python when it has no more threads to look up names.
            return failed(exc, is_tls=claimed.receiver.base_url.startswith("https:"))

    async def close(self) -> None:
        """Ends what is kept open. Calls must be over."""
        await self._receivers.close()


async def _post(line: Line, claimed: Claimed, now: datetime) -> Answer:
    body = write_payload(claimed)
    headers = HEADERS | signature_headers(claimed.id, now, body, line.keys) | _trace_headers(claimed)
    response = await line.session.post(address_of(claimed), data=body, headers=headers, allow_redirects=False)
    try:
        received = await _beginning(response)
    finally:
        # A connection whose answer was read to its end has been given back already.
        if response.connection is not None:
            response.close()
    return Answer(
        status=response.status,
        reason=None if 200 <= response.status < 300 else Reason.HTTP,  # noqa: PLR2004  # The class of success, as HTTP numbers it.
        body=_text(received),
        retry_after=_retry_after(response.headers.get("Retry-After"), now),
    )


def _trace_headers(claimed: Claimed) -> dict[str, str]:
    headers = {"x-request-id": claimed.request_id, "traceparent": claimed.trace_parent}
    return {name: value for name, value in headers.items() if value is not None}


async def _beginning(response: ClientResponse) -> bytes:
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


def _text(received: bytes) -> str:
    """The beginning of an answer as text that PostgreSQL takes: it has no U+0000."""
    return received[:MAX_ANSWER].decode(errors="replace").replace("\0", "\ufffd")


def _retry_after(value: str | None, now: datetime) -> float | None:
    """How many seconds a receiver asks to be left alone; None if it does not, or not in a form of RFC 9110."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        # Python refuses to read numbers of thousands of digits.
        return float(min(LONGEST_WAIT, int(value[:10])))
    until = parse_http_date(value, now)
    if until is None:
        return None
    seconds = (until - now).total_seconds()
    return min(float(LONGEST_WAIT), seconds) if seconds >= 0 else None
