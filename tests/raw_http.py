"""Send HTTP by hand, for requests that no client would send."""

import socket
from types import TracebackType
from typing import NamedTuple, Self

SECONDS = 30


class RawResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """A connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._socket.close()

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        """Close this side of the connection for writing; responses can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def send_last(self, data: bytes) -> None:
        """Send the last data. Its end arrives with it, so that the service sees both before it responds."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.send(data)
        self.end_sending()

    def read_response(self, *, has_body: bool = True) -> RawResponse:
        """Return the next response, which must have a Content-Length or no body."""
        status_line = self._file.readline().decode()
        headers = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", "0"))) if has_body else b""
        return RawResponse(int(status_line.split()[1]), headers, body)

    def read_all(self) -> bytes:
        """Return all bytes until the peer closes the connection."""
        return self._file.read()

    def is_ended(self) -> bool:
        """Return whether the peer has closed the connection; wait for the end or for a byte."""
        return self._file.read(1) == b""


def send_request(port: int, data: bytes, *, has_body: bool = True) -> RawResponse:
    """Send bytes, and return the first response. `has_body` is false if HTTP does not allow a body."""
    with RawConnection(port) as connection:
        connection.send(data)
        return connection.read_response(has_body=has_body)
