"""HTTP by hand: writes bytes as they are to a socket, and reads what comes back."""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """One answer; header names are lower case, and a header that came twice has both values."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection to the service."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        # Each piece goes at once.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Sends bytes. A server that has answered already may have closed its side; the answer tells."""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except ConnectionError:
            pass

    def end_sending(self) -> None:
        """Closes our side only."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, None when the server closes the connection without one."""
        status_line = self._reader.readline()
        if not status_line:
            return None
        status = int(status_line.split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while line := self._reader.readline().rstrip(b"\r\n"):
            name, _, value = line.partition(b":")
            key = name.decode("ascii").lower()
            text = value.strip().decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return Answer(status, headers, b"" if to_head else self._body(status, headers))

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
