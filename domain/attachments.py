"""Decode, measure and hash the content of attachments piece by piece, without a second copy in memory."""

import binascii
import hashlib
from dataclasses import dataclass

MAX_ATTACHMENTS = 10
MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file. A content with a `fault` (the text of the violation) is invalid; ignore its `data`."""

    data: bytes | bytearray
    sha256: str
    fault: str | None = None


class ContentReader:
    """Collect the bytes of a file while they are received."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._hash = hashlib.sha256()
        self._is_too_large = False

    def feed(self, piece: bytes | bytearray | memoryview) -> None:
        """Add bytes. Once the file exceeds the limit, discard everything received so far."""
        if self._is_too_large:
            return
        if len(self._data) + len(piece) > MAX_ATTACHMENT_BYTES:
            self._is_too_large = True
            self._data = bytearray()
            return
        self._data += piece
        self._hash.update(piece)

    def finish(self) -> Content:
        """Return the whole content, or a content with a fault."""
        data, self._data = self._data, bytearray()
        fault = None
        if self._is_too_large:
            fault = f"must be at most {MAX_ATTACHMENT_BYTES} bytes"
        elif not data:
            fault = "must not be empty"
        return Content(data, self._hash.hexdigest(), fault)


class Base64Reader:
    """Decode the base64 of a file while it is received: RFC 4648 section 4, padded, without line breaks."""

    def __init__(self) -> None:
        self._content = ContentReader()
        self._rest = b""
        self._is_padded = False
        self._is_faulty = False

    def feed(self, piece: bytes | bytearray) -> None:
        """Add base64 characters."""
        if self._is_faulty:
            return
        text = self._rest + piece if self._rest else piece
        complete = len(text) - len(text) % 4
        self._rest = bytes(text[complete:])
        if complete:
            self._decode(text[:complete])

    def finish(self) -> Content:
        """Return the whole content, or a content with a fault."""
        content = self._content.finish()
        if self._is_faulty or self._rest:
            return Content(b"", content.sha256, "must be base64, padded and without line breaks")
        return content

    def _decode(self, text: bytes | bytearray) -> None:
        if self._is_padded:
            # These characters follow padding, which is only valid at the end.
            self._is_faulty = True
            return
        try:
            self._content.feed(binascii.a2b_base64(text, strict_mode=True))
        except binascii.Error:
            self._is_faulty = True
        self._is_padded = text.endswith(b"=")


def read_base64(text: str) -> Content:
    """Return the content that a complete base64 text encodes."""
    reader = Base64Reader()
    # Replace characters outside ASCII by `?`, which is as invalid in base64 as they are.
    reader.feed(text.encode("ascii", "replace"))
    return reader.finish()
