"""The responses of a connection: those of uvicorn, except that a head is checked at once and sent with the body."""

import asyncio
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t"))
"""The characters that a line of a head must not contain."""


class BoundedCycle(RequestResponseCycle):
    """A request and its response.

    uvicorn searches each name and each value for invalid characters, which takes three times as long as the rest.
    """

    async def send(self, message: Any) -> None:
        """Send the head of the response, or a part of its body."""
        has_begun = self.response_started or message["type"] != "http.response.start"
        if has_begun or self.disconnected or self.flow.write_paused:
            await super().send(message)
            return
        head = self._render_head(message["status"], [*self.default_headers, *message["headers"]])
        self.response_started, self.waiting_for_100_continue = True, False
        self.transport.write(head)

    def _render_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status].rstrip()]
        is_closing = False
        for name, value in headers:
            begin = _render_name(name)
            lines.append(begin + value)
            if begin == b"content-length: ":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif begin == b"connection: " and value == b"close":
                self.keep_alive, is_closing = False, True
        if not self.keep_alive and not is_closing:
            lines.append(b"connection: close")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in {204, 304}:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        head = b"\r\n".join(lines)
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) - 1):
            raise RuntimeError("a header must be one line without control characters")
        return head + b"\r\n\r\n"


@lru_cache(maxsize=256)
def _render_name(name: bytes) -> bytes:
    """Return the beginning of a header. Names are constants of the program, so each is checked once."""
    if not name or HEADER_RE.search(name):
        raise RuntimeError("the name of a header must be a token")
    return name.lower() + b": "


class HeadBuffer:
    """The transport of one response, which sends the head together with the first piece of the body.

    uvicorn writes them one after the other, which would be two system calls and two packets.
    """

    __slots__ = ("_has_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._has_begun = False

    def write(self, data: bytes) -> None:
        """Send `data`, or store it if it is the head."""
        if self._head:
            self._transport.writelines([self._head, data])
            self._head = b""
        elif self._has_begun or data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._has_begun = True
            self._head = data

    def close(self) -> None:
        """Send the head if it is stored, and close the connection."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closing."""
        return self._transport.is_closing()


_CONTINUE = b"HTTP/1.1 100 "
