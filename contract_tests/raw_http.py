"""HTTP by hand: writes bytes as they are to a socket, and reads what comes back."""

import json
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from contract_tests import evidence

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """One answer; header names are lower case, and a header that came twice has both values."""

    status: int
    headers: dict[str, str]
    body: bytes
    in_own_words: bool = True
    """Whether a refusal must be in the words of the contract, since no gateway stands in between."""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


CLOSED = Answer(0, {}, b"", in_own_words=False)
"""A connection that was closed in the place of an answer."""


class Connection:
    """A connection to the service. `fill` makes what is sent of what was written."""

    def __init__(
        self,
        host: str,
        port: int,
        fill: Callable[[bytes], bytes] = bytes,
        tls: ssl.SSLContext | None = None,
        *,
        in_own_words: bool = True,
    ) -> None:
        plain = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        # Each piece goes at once.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
        self._reader = self._socket.makefile("rb")
        self._fill = fill
        self._in_own_words = in_own_words
        self._sent = evidence.sent_in_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Sends bytes. A server that has answered already may have closed its side; the answer tells."""
        try:
            for piece in pieces:
                self._sent.add(piece)
                self._socket.sendall(self._fill(piece))
        except (ConnectionError, ssl.SSLError):
            pass

    def end_sending(self) -> None:
        """Closes our side only."""
        if isinstance(self._socket, ssl.SSLSocket):
            # TLS has no half of a connection that all servers know; what was sent must do.
            return
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, None when the server closes the connection without one."""
        try:
            status_line = self._reader.readline()
        except (ConnectionError, ssl.SSLError):
            status_line = b""
        if not status_line:
            return None
        status = int(status_line.split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while line := self._reader.readline().rstrip(b"\r\n"):
            name, _, value = line.partition(b":")
            key = name.decode("ascii").lower()
            text = value.strip().decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        evidence.note_answer(status, headers.get("location"))
        return Answer(status, headers, b"" if to_head else self._body(status, headers), self._in_own_words)

    def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if status < 200 or status in {204, 304}:
            return b""
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(self._chunks())
        if "content-length" in headers:
            return self._reader.read(int(headers["content-length"]))
        return self._reader.read()

    def _chunks(self) -> Iterable[bytes]:
        while size := int(self._reader.readline(), 16):
            yield self._reader.read(size)
            self._reader.readline()
        self._reader.readline()
