"""uvicorn's HTTP/1.1 protocol with stricter parsing against request smuggling, and limits on everything except bodies.

It rejects malformed requests in the form of the contracts, and stores the client certificate as DER in
`scope["extensions"]["tls"]["client_certificate"]`.
"""

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, assert_never
from urllib.parse import unquote

import httptools
import structlog
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openapi.errors import problems
from openapi.observation.source_limits import LineLimit
from openapi.server.connections import Connections, ExceededLimit
from openapi.server.limits import ConnectionLimits
from openapi.server.responses import BoundedCycle, HeadBuffer

MAX_HEAD_BYTES = 64 * 1024
"""Maximum bytes of request line and headers, of trailers, and of data that httptools buffers without a limit."""

LINGER_SECONDS = 2.0
"""Seconds for which a closing connection is still read after a rejection, or its client may read the rest."""

STOP_SECONDS = 0.05
"""Seconds for which a connection without a request is still read when the server stops: one may be on its way."""

LINES_PER_SECOND = 10
"""Maximum log lines per second about malformed requests: callers can send thousands per second."""

log = structlog.get_logger("budkavle.protocol")

_MALFORMED = Counter("budkavle_malformed_requests", "Requests that are not acceptable HTTP/1.1, by reason.", ["reason"])


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """Ignores offers of another protocol. Java's client sends one with every request.

    Only HTTP/1.1 is supported, and a server may ignore an offer (RFC 9110, section 7.8). httptools would interpret the
    body as the other protocol, so it parses the head again without the offer.
    """

    _offer: bytes | None = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as pause:
                data = data[pause.args[0] :]
                if self._offer is not None:
                    data = self._offer + data
                    self._offer = None
                    self.parser = _create_parser(self)
                elif not data:
                    return
            else:
                return

    def on_headers_complete(self) -> None:
        if not self._is_offer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._offer is None:
            super().on_message_complete()

    def _is_offer(self) -> bool:
        """Return whether the head offers another protocol, and is therefore parsed again."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offer = self._build_head_without_offer()
            return True
        return False

    def _build_head_without_offer(self) -> bytes:
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([line, *headers]) + b"\r\n\r\n"


class BoundedProtocol(UpgradeIgnoringProtocol):
    """Closes a connection with a malformed request or a slow client, after the responses that are due."""

    _is_begun = False
    _in_head = True
    _is_rejected = False
    _has_last_response_due = False
    """Whether a complete request was running before the one that was rejected."""
    _is_unparsed = True
    """Whether the parser has called no method for the latest bytes."""
    _head_bytes = 0
    _trailer_bytes = 0
    _unparsed_bytes = 0
    _rejection: str | None = None
    _client_certificate: bytes | None = None
    _since = 0.0
    """The time by the loop's clock since which the service waits for the client."""
    _unsent = 0
    _unsent_since = 0.0

    def __init__(self, *arguments: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = connections
        connections.accept(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too.
        super().connection_made(transport)
        if self.client is not None and self.client[0].startswith(_IPV4_MAPPED):
            # An IPv4 client of a dual-stack socket.
            self.client = (self.client[0].removeprefix(_IPV4_MAPPED), self.client[1])
        if self.scheme == "https":
            self._client_certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self._since = self.loop.time()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)

    def find_exceeded_limit(self, now: float, limits: ConnectionLimits) -> ExceededLimit | None:
        """Return the limit that the client has exceeded, or None."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent:
                self._unsent, self._unsent_since = unsent, now
            return ExceededLimit.READER if now - self._unsent_since > limits.reader_seconds else None
        self._unsent = 0
        if self._is_rejected or self.transport.is_closing() or self._is_running():
            return None
        if self.flow.read_paused:
            # The client may have sent data that the service does not read.
            self._since = now
        waited = now - self._since
        if not self._is_begun:
            return ExceededLimit.IDLE if waited > limits.idle_seconds else None
        if self._in_head:
            return ExceededLimit.HEAD if waited > limits.head_seconds else None
        return ExceededLimit.BODY if waited > limits.body_seconds else None

    def end(self, reason: ExceededLimit) -> None:
        """Close the connection, with a response that gives the reason if one is due."""
        match reason:
            case ExceededLimit.READER:
                self.transport.abort()
            case ExceededLimit.IDLE:
                self.transport.close()
            case ExceededLimit.HEAD | ExceededLimit.BODY:
                if self.cycle is not None and self.cycle.response_started and not self._in_head:
                    self.transport.close()
                else:
                    self._reject_request(f"slow_{reason}")
            case _ as unreachable:
                assert_never(unreachable)

    def close(self) -> None:
        """Close a connection without a running request. Its client may read the rest of a response for a moment."""
        has_unsent = self.transport.get_write_buffer_size() > 0
        self.transport.close()
        if has_unsent:
            # Otherwise the connection stays open until the response is read.
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """Begin to close the connection: respond to complete requests, and reduce the time limits for the rest."""
        self._connections.shorten_limits()
        if self._is_begun:
            super().shutdown()
        else:
            # To close a connection with data that was not read resets it: a proxy answers 502.
            self.loop.call_later(STOP_SECONDS, super().shutdown)

    def _is_running(self) -> bool:
        """Whether a complete request waits for its response."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        if self._is_rejected or self.transport.is_closing():
            return
        self._is_unparsed = True
        if not self._in_head:
            self._since = self.loop.time()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._reject_request(self._rejection or "not_http")
            return
        self._unparsed_bytes = self._unparsed_bytes + len(data) if self._is_unparsed else 0
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._reject_request("head_too_long")

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn declares that it returns nothing.
        """Respond to complete requests after a client shuts down its sending side (RFC 9112, section 9.6)."""
        is_refused_body = not self._in_head and self.cycle is not None and self.cycle.response_complete
        if self._is_begun and not self._is_rejected and not is_refused_body:
            # A client that stops sending a rejected body is not counted as malformed.
            self._reject_request("cut_off")
        if self.scheme == "https":
            # TLS closes both directions at once.
            return None
        if self._is_rejected:
            return self._has_last_response_due
        if not self._is_running():
            return None
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        last.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        self._is_begun, self._in_head, self._head_bytes, self._trailer_bytes = True, True, 0, 0
        self._since = self.loop.time()
        super().on_message_begin()
        if self._client_certificate is not None:
            self.scope["extensions"] = {"tls": {"client_certificate": self._client_certificate}}

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop_parsing("target_too_long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_unparsed = False
        if self._in_head:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._stop_parsing("head_too_long")
            self.headers.append((name.lower(), value.rstrip(b" \t")))
            return
        # Trailers are ignored, and must not be added to the headers of a running request.
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            self._stop_parsing("head_too_long")

    def on_headers_complete(self) -> None:
        self._is_unparsed = False
        version = self._check_head()
        if not self._is_offer():
            self._in_head = False
            self._begin_request(version)

    def _begin_request(self, version: str) -> None:
        """Begin the request after those of the connection that run, as in uvicorn, but with our response."""
        url = httptools.parse_url(self.url)
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(url.path.decode("ascii"))
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        previous = self.cycle
        self.cycle = BoundedCycle(
            scope=scope,
            # A response to HEAD has no body, so its head would never be sent.
            transport=self.transport if scope["method"] == "HEAD" else HeadBuffer(self.transport),  # type: ignore[arg-type]  # It has what it calls.
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._is_unparsed = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offer is not None:
            return
        self._is_begun, self._in_head, self._is_unparsed = False, True, False
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
            self._connections.record_request_start(self)

    def on_response_complete(self) -> None:
        """Begin the next request, as in uvicorn, but without its timer for idle connections: `Connections` has one."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
        if self._has_last_response_due and not self.transport.is_closing():
            self._has_last_response_due = False
            self._close_after_reading()
        self._since = self.loop.time()
        if not self._is_running():
            self._connections.record_request_end(self)

    def _check_head(self) -> str:
        """Return the version, and reject heads that others may parse differently (RFC 9112, sections 2.3, 3.2, 6.1)."""
        version: str = self.parser.get_http_version()
        if not version.startswith("1."):
            self._stop_parsing("version")
        if not has_valid_host(self.headers, version):
            self._stop_parsing("host")
        coding = b""
        for name, value in self.headers:
            if name == b"transfer-encoding":
                coding += value.lower()
            elif name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
        if coding:
            if coding != b"chunked":
                self._stop_parsing("transfer_coding")
            if version == "1.0":
                self._stop_parsing("not_http")
        return version

    def _stop_parsing(self, reason: str) -> None:
        """Stop parsing this connection by an exception from a callback of the parser."""
        self._rejection = reason
        raise ValueError(reason)

    def _reject_request(self, reason: str) -> None:
        """Close the connection, with a response that gives the reason unless an earlier response is due."""
        self._is_rejected = True
        _MALFORMED.labels(reason).inc()
        status, detail = _REJECTIONS[reason]
        _log_rejection(reason, status, self.client)
        if self.pipeline or self._is_running():
            # The running request is complete, so its response is still sent, as the last one.
            self._has_last_response_due = True
            self.cycle.keep_alive = False
            self.pipeline.clear()
            return
        body = problems.render_problem(status, detail)
        head = (
            f"HTTP/1.1 {status.value} {problems.get_phrase(status)}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        if self.cycle is not None and not self.cycle.response_complete:
            # Report to the application that the rest of the body will not arrive.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(head.encode() + body)
        self._close_after_reading()

    def _close_after_reading(self) -> None:
        """Close, but keep reading for a moment: with unread bytes the kernel sends RST, which loses the response."""
        if self.scheme == "https":
            self.transport.close()
            return
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


_REJECTIONS = {
    "not_http": (HTTPStatus.BAD_REQUEST, "This is not HTTP"),
    "cut_off": (HTTPStatus.BAD_REQUEST, "The request ended before it was complete"),
    "host": (HTTPStatus.BAD_REQUEST, "The request must have one Host header, with a host name or address"),
    "target_too_long": (HTTPStatus.REQUEST_URI_TOO_LONG, f"The URI must be at most {MAX_HEAD_BYTES} bytes"),
    "head_too_long": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"The headers must be at most {MAX_HEAD_BYTES} bytes",
    ),
    "slow_head": (HTTPStatus.REQUEST_TIMEOUT, "The head of the request did not arrive in time"),
    "slow_body": (HTTPStatus.REQUEST_TIMEOUT, "The body of the request did not arrive in time"),
    "transfer_coding": (HTTPStatus.NOT_IMPLEMENTED, "The only supported Transfer-Encoding is chunked"),
    "version": (HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "The supported version is HTTP/1.1"),
}
"""The status and text for each reason to reject a request before it reaches an operation."""

for _reason in _REJECTIONS:
    # Create all series at start, so that rates include the first rejection.
    _MALFORMED.labels(_reason)

_IPV4_MAPPED = "::ffff:"

_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.vV]+\])(?::[0-9]*)?")
"""The Host header (RFC 9110, section 7.2), which may be empty."""


def has_valid_host(headers: Iterable[tuple[bytes, bytes]], version: str) -> bool:
    """Return whether a head has one valid Host header, or none in HTTP/1.0 (RFC 9112, section 3.2)."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


_lines = LineLimit(LINES_PER_SECOND)


def _log_rejection(reason: str, status: HTTPStatus, client: tuple[str, int] | None) -> None:
    suppressed = _lines.admit_line()
    if suppressed is not None:
        log.warning(
            "malformed_request_rejected",
            reason=reason,
            status=status.value,
            peer=client and client[0],
            suppressed=suppressed,
        )


def _create_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # Same as in uvicorn's own parser.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
