"""Parse the heads of receivers' responses leniently, and rewrite them so that aiohttp's strict parser accepts them.

A receiver that responds with a complete 2xx head has accepted the event. If a malformed header line were an error, the
delivery would be retried and the receiver would get duplicates for ever. A delivery needs only the status, the framing
of the body, `Retry-After`, and the challenges of a 401; all other lines are dropped without parsing, regardless of
length, number and validity.

Framing follows RFC 9112, section 6.3. A head with contradictory framing fields is accepted, but its body is not read
and its connection is closed.
"""

import re
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

MAX_HEAD = 1024 * 1024
"""Maximum bytes of a head, including interim responses."""

MAX_LINE = 8 * 1024
"""Maximum bytes of a header line that are kept."""

MAX_KEPT = 64 * 1024
"""Maximum bytes of all header lines that are kept."""

_STATUS_LINE = re.compile(rb"HTTP/[0-9](\.[0-9])?[ \t]+([1-9][0-9]{2})([ \t].*)?", re.DOTALL | re.IGNORECASE)
_CURRENT_VERSION = b".1"
_NEEDED = frozenset({b"content-length", b"transfer-encoding", b"connection", b"retry-after", b"www-authenticate"})
_FIRST_LETTERS = b"".join({name[:1] + name[:1].upper() for name in _NEEDED})
"""First letters of these names: most lines are skipped after a check of their first letter."""
MAX_CHALLENGES = 4096
"""Maximum bytes of the challenges of a 401 that are passed on."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FIELD_TEXT = re.compile(rb"[\x20-\x7e]+")
_NO_FIELD_TEXT = re.compile(rb"[^\x20-\x7e]")
_WITHOUT_BODY = frozenset({HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class HeadMalformed(Exception):
    """The receiver does not speak HTTP, or its head exceeds `MAX_HEAD`."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A head as aiohttp receives it. `rest` are the bytes after it; `is_whole` says that they are the whole body."""

    text: bytes
    has_body: bool
    rest: bytes
    is_whole: bool


class HeadReader:
    """Read one final head from a connection and skip the interim responses before it, with bounded memory."""

    def __init__(self) -> None:
        self._line = b""
        self._received = 0
        self._status: int | None = None
        self._keeps_connection = False
        self._fields: dict[bytes, list[bytes]] = {}
        self._folded_into: list[bytes] | None = None
        self._kept = 0

    def feed(self, data: bytes) -> ResponseHead | None:
        """Return the final head once it is complete, otherwise None. Raises `HeadMalformed`."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start : min(end, start + MAX_LINE)]
            if self._line:
                line, self._line = (self._line + line)[:MAX_LINE], b""
            start = end + 1
            if self._read_line(line.removesuffix(b"\r")):
                return self._rewrite(data[start:])
        self._line = (self._line + data[start : start + MAX_LINE])[:MAX_LINE]
        if self._status is None and not b"HTTP/".startswith(self._line[:5].upper().lstrip(b"\r")):
            raise HeadMalformed
        self._received += len(data)
        if self._received > MAX_HEAD:
            raise HeadMalformed
        return None

    def _read_line(self, line: bytes) -> bool:
        """Process one line. Return whether it ends the final head."""
        if self._status is None:
            # Empty lines before a status line belong to the previous response.
            if line:
                self._read_status_line(line)
            return False
        if line:
            self._read_field(line)
            return False
        is_interim = 100 <= self._status < 200 and self._status != HTTPStatus.SWITCHING_PROTOCOLS  # noqa: PLR2004  # The class of interim responses.
        if is_interim:
            self._status, self._fields, self._folded_into = None, {}, None
        return not is_interim

    def _read_status_line(self, line: bytes) -> None:
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise HeadMalformed
        self._status = int(found[2])
        self._keeps_connection = found[1] == _CURRENT_VERSION

    def _read_field(self, line: bytes) -> None:
        if line[0] in b" \t":
            # Replace an obsolete line folding by a space: RFC 9112, section 5.2.
            if self._folded_into is not None and self._has_room(line):
                self._folded_into[-1] += b" " + line.strip(b" \t")
            return
        self._folded_into = None
        if line[0] not in _FIRST_LETTERS:
            return
        name, _, value = line.partition(b":")
        name = name.strip(b" \t").lower()
        if name in _NEEDED and self._has_room(line):
            self._folded_into = self._fields.setdefault(name, [])
            self._folded_into.append(value.strip(b" \t"))

    def _has_room(self, line: bytes) -> bool:
        self._kept += len(line)
        return self._kept <= MAX_KEPT

    def _list_tokens(self, name: bytes) -> list[bytes]:
        """Return the members of a list field in lower case."""
        if name not in self._fields:
            return []
        members = b",".join(self._fields[name]).lower().split(b",")
        return [member for each in members if (member := each.strip(b" \t"))]

    def _rewrite(self, rest: bytes) -> ResponseHead:
        framing, has_body, is_kept = self._determine_framing()
        lines = [b"HTTP/1.1 %d " % (self._status or 0)]
        if framing:
            lines.append(framing)
        retry_after = self._fields.get(b"retry-after")
        if retry_after and _FIELD_TEXT.fullmatch(retry_after[0]):
            lines.append(b"Retry-After: " + retry_after[0])
        # Gateways describe errors in their own language, which must not hide the error code.
        challenges = [_NO_FIELD_TEXT.sub(b"?", each) for each in self._fields.get(b"www-authenticate", ()) if each]
        if challenges and self._status == HTTPStatus.UNAUTHORIZED:
            lines.append(b"WWW-Authenticate: " + b", ".join(challenges)[:MAX_CHALLENGES])
        if not (is_kept and self._keeps_connection) or b"close" in self._list_tokens(b"connection"):
            lines.append(b"Connection: close")
        is_whole = has_body and framing == b"Content-Length: %d" % len(rest)
        return ResponseHead(b"\r\n".join([*lines, b"", b""]), has_body, rest, is_whole)

    def _determine_framing(self) -> tuple[bytes, bool, bool]:
        """Return the framing field, whether there is a body to read, and whether the connection stays open."""
        codings = [each for each in self._list_tokens(b"transfer-encoding") if each != b"identity"]
        lengths = set(self._list_tokens(b"content-length"))
        if self._status in _WITHOUT_BODY:
            return b"", False, not codings and lengths <= {b"0"}
        if codings and codings.index(codings[-1]) == len(codings) - 1 and codings[-1] == b"chunked":
            return b"Transfer-Encoding: chunked", True, not lengths
        if not codings and not lengths:
            # The body ends with the connection.
            return b"", True, False
        length = next(iter(lengths)) if len(lengths) == 1 else b""
        if not codings and _LENGTH.fullmatch(length):
            return b"Content-Length: " + length, True, True
        return b"Content-Length: 0", False, False


class _Protocol(ResponseHandler):
    """aiohttp's protocol with a `HeadReader` in front of it.

    A body with malformed chunks ends at the malformed chunk without an error, because its head was complete. A
    connection that closes within a body is still an error.
    """

    _head: HeadReader | None = None
    _reads_body = True

    def set_response_params(self, **options: Any) -> None:
        """Prepare for the response to the next request."""
        self._head = HeadReader()
        self._reads_body = True
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Pass on the rewritten head, then the body."""
        if self._head is not None:
            try:
                head = self._head.feed(data)
            except HeadMalformed:
                self._head = None
                if self.transport is not None:
                    self.transport.close()
                self.set_exception(HttpProcessingError(message="malformed head"))
                return
            if head is None:
                return
            self._head, self._reads_body = None, head.has_body
            if head.is_whole:
                super().data_received(head.text + head.rest)
                return
            super().data_received(head.text)
            if head.rest:
                self._receive_body(head.rest)
        else:
            self._receive_body(data)

    def _receive_body(self, data: bytes) -> None:
        if not self._reads_body:
            # aiohttp calls this method without data when it resumes reading.
            if data:
                self.force_close()
            return
        body = self._payload
        super().data_received(data)
        if body is not None and self.exception() is not None and not body.is_eof():
            body.feed_eof()


class LenientConnector(TCPConnector):
    """A connector whose connections accept each complete head. aiohttp has no option for this."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(_Protocol, loop=self._loop)
