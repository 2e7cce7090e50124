"""Send requests to a receiver with the HTTP client of the worker, so that an answer has the worker's meaning."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar
from yarl import URL

from delivery.calls import MAX_READ, hide_values
from delivery.failures import map_error
from delivery.receivers import load_client_certificate, trust_ca
from delivery.references import ReceiverMisconfigured
from delivery.response_bodies import read_beginning
from delivery.response_heads import LenientConnector
from domain.deliveries import Reason
from receiver_tests.deliveries import Delivery
from receiver_tests.target import ReceiverTarget

PIECE_INTERVAL_SECONDS = 0.1
"""Seconds between two pieces of a body that is sent slowly."""
MAX_LOOK_BYTES = 16 * 1024 * 1024
MAX_TEXT = 80
"""Maximum characters of the body of an answer in a report."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request. Without one, `status` is None and `reason` and `detail` explain it.

    `text` is the beginning of its body, on one line; without a body it is the challenge of a 401.
    """

    status: int | None
    seconds: float
    reason: Reason | None = None
    detail: str = ""
    text: str = ""


class Sender:
    """An HTTP client for one receiver. Each request has a new connection, unless `keeps_connections`."""

    def __init__(
        self, target: ReceiverTarget, *, keeps_connections: bool = False, with_certificate: bool = True
    ) -> None:
        self.target = target
        self.context = build_tls(target, with_certificate=with_certificate)
        connector = _Connector(
            ssl=True if self.context is None else self.context, limit=0, force_close=not keeps_connections
        )
        self._http = ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=target.timeout, ceil_threshold=2 * target.timeout),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def send(self, delivery: Delivery) -> Answer:
        """Send a request once and return the answer. Raises `TokenError`."""
        await self._renew_token()
        headers = delivery.build_headers(self.target.key, datetime.now(UTC)) | self.target.build_credentials()
        data: Any = delivery.body if delivery.sent_body is None else delivery.sent_body
        if delivery.pieces > 1:
            headers["Content-Length"] = str(len(data))
            data = _send_slowly(data, delivery.pieces)
        begun = time.monotonic()
        try:
            response = await self._http.request(
                delivery.method,
                URL(self.target.url, encoded=True),
                data=data if delivery.method == "POST" else None,
                headers=headers,
                allow_redirects=False,
            )
            # An answer counts once it is complete, as for the worker.
            body = await read_beginning(response, MAX_READ)
        except (ClientError, OSError, ValueError, RuntimeError) as exc:
            failed = map_error(exc, is_tls=self.target.is_tls)
            return Answer(None, time.monotonic() - begun, failed.reason, failed.detail)
        # A part of a secret at the end of a shortened text could not be recognised any more.
        challenge = response.headers.get("WWW-Authenticate", "").encode()
        shown = hide_values(body or challenge, (*self.target.build_credentials().values(), self.target.secret))
        return Answer(response.status, time.monotonic() - begun, text=_shorten(shown))

    async def look(self) -> bytes:
        """Return the list of deliveries that the receiver has done, as it is.

        Raises errors of aiohttp, OSError, and ValueError for an answer other than 200 and for a list that is too long.
        """
        received = bytearray()
        url = URL(self.target.look or "", encoded=True)
        async with self._http.get(url, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                raise ValueError(f"the answer is {response.status}, which must be 200")
            async for part in response.content.iter_any():
                received += part
                if len(received) > MAX_LOOK_BYTES:
                    raise ValueError(f"it has more than {MAX_LOOK_BYTES} bytes")
        return bytes(received)

    async def open_raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection on which the caller sends the bytes of a request. Raises OSError and TokenError."""
        await self._renew_token()
        parts = urlsplit(self.target.url)
        port = parts.port or (443 if self.target.is_tls else 80)
        async with asyncio.timeout(self.target.timeout):
            return await asyncio.open_connection(parts.hostname, port, ssl=self.context)

    def write_raw(self, delivery: Delivery) -> bytes:
        """Return the bytes of a valid delivery."""
        parts = urlsplit(self.target.url)
        path = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
        headers = delivery.build_headers(self.target.key, datetime.now(UTC)) | self.target.build_credentials()
        headers |= {
            "Host": parts.netloc,
            "Content-Length": str(len(delivery.body)),
            "Connection": "close",
        }
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + delivery.body

    async def _renew_token(self) -> None:
        if self.target.tokens is not None:
            await asyncio.to_thread(self.target.tokens.renew)


class _Connector(LenientConnector):
    """A connector that does not wait for the peer to close a TLS connection. aiohttp has no option for this."""

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        transport = protocol.transport
        super()._release(key, protocol, should_close=should_close)
        if transport is not None and transport.is_closing():
            transport.abort()


def build_tls(target: ReceiverTarget, *, with_certificate: bool = True) -> ssl.SSLContext | None:
    """Return the TLS configuration, or None for an http:// address. Raises `ReceiverMisconfigured`."""
    if not target.is_tls:
        if target.certificate is not None:
            raise ReceiverMisconfigured("a client certificate needs an https:// address")
        return None
    context = trust_ca(None if target.ca is None else f"file:{target.ca}")
    if target.certificate is not None and with_certificate:
        key = target.certificate_key or target.certificate
        load_client_certificate(context, f"file:{target.certificate}", f"file:{key}")
    return context


def _shorten(body: bytes) -> str:
    """Return the beginning of the body of an answer, on one line of printable characters."""
    words = body.decode("utf-8", "replace").split()
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(words))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


async def _send_slowly(data: bytes, pieces: int) -> AsyncIterator[bytes]:
    size = -(-len(data) // pieces)
    for begin in range(0, len(data), size):
        if begin:
            await asyncio.sleep(PIECE_INTERVAL_SECONDS)
        yield data[begin : begin + size]
