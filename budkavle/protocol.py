"""uvicorn's HTTP protocol, with bounds on all that is not a body, and answers in the form of the contracts.

It leaves the certificate that a caller showed, as DER, in `scope["extensions"]["tls"]["client_certificate"]`.
"""

import asyncio
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handlers import problems

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; also trailers together, and anything that httptools holds back. It sets none."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request head is too long (431) or no HTTP (400), after the answers that are due."""

    _in_head = True
    _is_refused = False
    _is_silent = True
    _offer: bytes | None = None
    _head_bytes = 0
    _trailer_bytes = 0
    _silent_bytes = 0
    _client_certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too.
        super().connection_made(transport)
        if self.scheme == "https":
            self._client_certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._is_silent = True
        try:
            self._feed(data)
        except httptools.HttpParserError:
            too_long = self._trailer_bytes > MAX_HEAD_BYTES
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_long else HTTPStatus.BAD_REQUEST)
            return
        self._silent_bytes = self._silent_bytes + len(data) if self._is_silent else 0
        if (self._in_head and self._head_bytes > MAX_HEAD_BYTES) or self._silent_bytes > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as pause:
                data = data[pause.args[0] :]
                if self._offer is not None:
                    data = self._offer + data
                    self._offer = None
                    self.parser = _new_parser(self)
                elif not data:
                    return
            else:
                return

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._trailer_bytes = True, 0, 0
        super().on_message_begin()
        if self._client_certificate is not None:
            self.scope["extensions"] = {"tls": {"client_certificate": self._client_certificate}}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_silent = False
        if self._in_head:
            super().on_header(name, value.rstrip(b" \t"))
            return
        # Trailers mean nothing here, and must not join the headers of a request that is under way.
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise ValueError

    def on_headers_complete(self) -> None:
        self._is_silent = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offer = self._head_without_offer()
            return
        self._in_head = False
        super().on_headers_complete()

    def _head_without_offer(self) -> bytes:
        """The head that was read, without the offer of another protocol, which Java's client makes with every request.

        We speak HTTP/1.1 only, and may ignore it; httptools would take the body for the other protocol. So it reads
        this head again.
        """
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([line, *headers]) + b"\r\n\r\n"

    def on_body(self, body: bytes) -> None:
        self._is_silent = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offer is not None:
            return
        self._in_head, self._head_bytes, self._is_silent = True, 0, False
        super().on_message_complete()

    def _refuse(self, status: HTTPStatus) -> None:
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            # The request before was whole: its answer goes out, and is the last one.
            self.cycle.keep_alive = False
            self.pipeline.clear()
            return
        body = problems.problem(status, _DETAILS[status])
        head = (
            f"HTTP/1.1 {status.value} {problems.phrase_of(status)}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


_DETAILS = {
    HTTPStatus.BAD_REQUEST: "This is not HTTP",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"The headers must be at most {MAX_HEAD_BYTES} bytes",
}


def _new_parser(protocol: BoundedProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # As uvicorn makes its own.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
