"""Calls to receivers."""

import asyncio
import hashlib
import html
import json
import re
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from urllib.parse import quote_plus

import structlog
from aiohttp import ClientError, ClientResponse, ClientTimeout
from aiohttp.abc import AbstractResolver

from delivery.access_tokens import AccessTokens, TokenUnavailable
from delivery.failures import map_error
from delivery.http_dates import parse_http_date
from delivery.payload import build_url, write_payload
from delivery.receivers import ReceiverSetup, SessionPool
from delivery.references import ReceiverMisconfigured
from delivery.response_bodies import read_beginning
from delivery.signing import build_signature_headers
from domain.deliveries import LONGEST_WAIT, MAX_STORED_RESPONSE, ClaimedDelivery, Reason, ReceiverResponse

MAX_READ = 16 * 1024
"""Maximum bytes of a response that are read. A connection with a longer response is closed."""

MIN_HIDDEN = 8
"""Minimum characters of the value of a header that is removed from stored responses."""

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "Budkavle",
    # Response bodies are stored as text and never decompressed.
    "Accept-Encoding": "identity",
}

log = structlog.get_logger("budkavle.delivery")

_SECONDS = re.compile(r"[0-9]+", re.ASCII)

_TOKEN_REJECTED = re.compile(r'(?:^|[,\s])error\s*=\s*"?invalid_token"?(?=$|[,\s])', re.IGNORECASE)
"""The error of a challenge for a token that has expired, or is not valid for another reason (RFC 6750, section 3.1)."""


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
        self._attempt_timeout = attempt_timeout
        self._sessions = SessionPool(timeout, resolver)

    async def send(self, claimed: ClaimedDelivery, now: datetime) -> ReceiverResponse:
        """Make one attempt and return its result. Raises only `CancelledError`.

        An attempt is one POST, except that one with a rejected access token is repeated with another token.

        A response counts once it is complete or exceeds 16 KiB. A truncated response may come from a receiver that
        crashed.
        """
        try:
            setup = self._sessions.get_setup(claimed.receiver, now)
        except ReceiverMisconfigured as exc:
            return ReceiverResponse(None, Reason.SETUP, detail=str(exc))
        try:
            with setup.session:
                if setup.tokens is None:
                    return await _post(setup, claimed, now)
                return await self._send_with_token(setup, setup.tokens, claimed, now)
        except TokenUnavailable as exc:
            return ReceiverResponse(None, Reason.TOKEN, detail=str(exc))
        except (ClientError, OSError, ValueError, RuntimeError) as exc:
            # TimeoutError is a subclass of OSError. aiohttp raises ValueError for invalid headers and addresses. uvloop
            # raises RuntimeError for some sockets, and so does Python when it has no more threads for name look-ups.
            return map_error(exc, is_tls=claimed.receiver.base_url.startswith("https:"))

    async def _send_with_token(
        self, setup: ReceiverSetup, tokens: AccessTokens, claimed: ClaimedDelivery, now: datetime
    ) -> ReceiverResponse:
        """Make one attempt with an access token. If the token is rejected, send the same request with another one.

        Both requests are one attempt, since a rejected token means that the delivery was not processed. Raises
        `TokenUnavailable`, and the errors of a call.
        """
        deadline = asyncio.get_running_loop().time() + self._attempt_timeout
        token = await tokens.get(setup.session, now, deadline)
        async with asyncio.timeout_at(deadline):
            response = await _post(setup, claimed, now, token)
        if response.reason is not Reason.TOKEN:
            return response
        log.info("access_token_rejected", system=claimed.receiver.system_id, delivery=claimed.id)
        try:
            other = await tokens.replace(token, setup.session, now, deadline)
        except TokenUnavailable:
            return response
        if other is None:
            return response
        async with asyncio.timeout_at(deadline):
            return await _post(setup, claimed, now, other)

    async def close(self) -> None:
        """Close all connections. No call may be running."""
        await self._sessions.close()


async def _post(
    setup: ReceiverSetup, claimed: ClaimedDelivery, now: datetime, token: str | None = None
) -> ReceiverResponse:
    body = write_payload(claimed)
    headers = HEADERS | build_signature_headers(claimed.id, now, body, setup.keys) | _build_trace_headers(claimed)
    if setup.headers:
        headers |= setup.headers
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    response = await setup.session.http.post(build_url(claimed), data=body, headers=headers, allow_redirects=False)
    received = await read_beginning(response, MAX_READ)
    is_token_rejected = token is not None and _is_token_rejected(response)
    is_accepted = 200 <= response.status < 300  # noqa: PLR2004  # The class of success, as HTTP numbers it.
    return ReceiverResponse(
        status=response.status,
        reason=None if is_accepted else Reason.TOKEN if is_token_rejected else Reason.HTTP,
        body=_decode_text(hide_values(received, (*setup.headers.values(), token))),
        retry_after=_retry_after(response.headers.get("Retry-After"), now),
        request_hash=hashlib.sha256(body).hexdigest() if is_accepted else None,
    )


def _is_token_rejected(response: ClientResponse) -> bool:
    challenge = response.headers.get("WWW-Authenticate", "")
    return response.status == HTTPStatus.UNAUTHORIZED and _TOKEN_REJECTED.search(challenge) is not None


def _build_trace_headers(claimed: ClaimedDelivery) -> dict[str, str]:
    headers = {"x-request-id": claimed.request_id, "traceparent": claimed.trace_parent}
    return {name: value for name, value in headers.items() if value is not None}


def hide_values(received: bytes, values: Iterable[str | None]) -> bytes:
    """Return a response without these values of headers, which the receiver may have repeated."""
    if not received:
        return received
    # Longest first: a value may be the beginning of another one.
    for form in sorted(_list_forms(values), key=len, reverse=True):
        received = received.replace(form, b"***")
    return received


def _list_forms(values: Iterable[str | None]) -> set[bytes]:
    """Return the forms in which a receiver may repeat values: as they are, without scheme, in JSON, HTML and URLs."""
    parts = {part for value in values if value is not None for part in (value, value.rpartition(" ")[2])}
    # A shorter part is a word that also has other meanings.
    hidden = {part for part in parts if len(part) >= MIN_HIDDEN}
    escaped = {json.dumps(part)[1:-1] for part in hidden}
    # Some libraries escape the slash too.
    escaped |= {form.replace("/", r"\/") for form in escaped}
    escaped |= {write(part) for part in hidden for write in (html.escape, quote_plus)}
    return {form.encode() for form in hidden | escaped}


def _decode_text(received: bytes) -> str:
    """Return the beginning of a response as text without U+0000, which PostgreSQL rejects."""
    return received[:MAX_STORED_RESPONSE].decode(errors="replace").replace("\0", "\ufffd")


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Return the requested delay in seconds, or None if the field is missing or is invalid under RFC 9110."""
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
