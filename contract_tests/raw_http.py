"""A minimal HTTP client that writes bytes to a socket unchanged and parses the responses."""

import json
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from contract_tests import evidence
from contract_tests.reading import MAX_BYTES

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class RawResponse:
    """One response. Header names are in lower case; repeated headers are joined with a comma."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_direct: bool = True
    """Whether no gateway is in between, so that errors must have the contract's form."""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


CLOSED = RawResponse(0, {}, b"", is_direct=False)
"""The result if the connection was closed instead of a response."""


class RawConnection:
    """A connection to the service. `fill` replaces the placeholders in sent bytes."""

    def __init__(
        self,
        host: str,
        port: int,
        fill: Callable[[bytes], bytes] = bytes,
        tls: ssl.SSLContext | None = None,
        *,
        is_direct: bool = True,
    ) -> None:
        plain = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        # Send each piece at once.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
        self._reader = self._socket.makefile("rb")
        self._fill = fill
        self._is_direct = is_direct
        self._sent = evidence.record_connection()
        self._left = MAX_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send bytes. Ignore a connection that the server has closed after an early response."""
        try:
            for piece in pieces:
                self._sent.add(piece)
                self._socket.sendall(self._fill(piece))
        except (ConnectionError, ssl.SSLError):
            pass

    def end_sending(self) -> None:
        """Shut down the sending side of the connection."""
        # Shut down the socket below TLS: not all servers support half-closed TLS, but all detect the end of the stream.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def read_response(self, *, to_head: bool = False) -> RawResponse | None:
        """Return the next response, or None if the server closes the connection without one.

        Data other than HTTP/1 (a TLS alert, an HTTP/2 frame) is no response; the result is None.
        """
        try:
            status_line = self._read_line()
        except (ConnectionError, ssl.SSLError):
            status_line = b""
        if not status_line.startswith(b"HTTP/1."):
            assert not status_line or not self._is_direct, status_line[:100]
            return None
        status = int(status_line.split(b" ", 2)[1])
        try:
            answer = self._read_rest(status, to_head=to_head)
        except (ConnectionError, ssl.SSLError):
            # A gateway may close the connection while it sends a response, because it has not read the whole request.
            if self._is_direct:
                raise
            answer = RawResponse(status, {}, b"", self._is_direct)
        evidence.record_response(status, answer.headers.get("location"))
        return answer

    def _read_rest(self, status: int, *, to_head: bool) -> RawResponse:
        headers: dict[str, str] = {}
        while line := self._read_line().rstrip(b"\r\n"):
            name, _, value = line.partition(b":")
            key = name.decode("ascii").lower()
            text = value.strip().decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return RawResponse(status, headers, b"" if to_head else self._read_body(status, headers), self._is_direct)

    def _read_body(self, status: int, headers: dict[str, str]) -> bytes:
        if status < 200 or status in {204, 304}:
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._read_chunks())
        if "content-length" in headers:
            return self._read_bytes(int(headers["content-length"]))
        return self._read_bytes(None)

    def _read_chunks(self) -> Iterable[bytes]:
        while size := int(self._read_line(), 16):
            yield self._read_bytes(size)
            self._read_line()
        self._read_line()

    def _read_line(self) -> bytes:
        return self._count(self._reader.readline(self._left + 1))

    def _read_bytes(self, size: int | None) -> bytes:
        """Read `size` bytes, or all bytes until the connection ends if it is None."""
        most = self._left + 1
        return self._count(self._reader.read(most if size is None else min(size, most)))

    def _count(self, received: bytes) -> bytes:
        """Count received bytes: an endless response must not exhaust the memory."""
        self._left -= len(received)
        assert self._left >= 0, f"the answers on a connection are longer than {MAX_BYTES} bytes"
        return received
