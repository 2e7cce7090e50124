"""The content of attachments, taken in piece by piece: decoded, measured, hashed, and never held twice."""

import binascii
import hashlib
from dataclasses import dataclass

MAX_ATTACHMENTS = 10
MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file. `fault` says why they cannot be taken; `data` is then not to be used."""

    data: bytes | bytearray
    sha256: str
    fault: str | None = None


class ContentReader:
    """Takes the bytes of a file as they come."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._hash = hashlib.sha256()
        self._is_too_large = False

    def feed(self, piece: bytes | bytearray | memoryview) -> None:
        """Adds bytes; what goes over the limit is let go at once."""
        if self._is_too_large:
            return
        if len(self._data) + len(piece) > MAX_ATTACHMENT_BYTES:
            self._is_too_large = True
            self._data = bytearray()
            return
        self._data += piece
        self._hash.update(piece)

    def finish(self) -> Content:
        """The whole content, or what is wrong with it."""
        data, self._data = self._data, bytearray()
        fault = None
        if self._is_too_large:
            fault = f"must be at most {MAX_ATTACHMENT_BYTES} bytes"
        elif not data:
            fault = "must not be empty"
        return Content(data, self._hash.hexdigest(), fault)


class Base64Reader:
    """Takes the base64 of a file as it comes: RFC 4648 section 4, padded, no line breaks."""

    def __init__(self) -> None:
        self._content = ContentReader()
        self._rest = b""
        self._is_padded = False
        self._is_faulty = False

    def feed(self, piece: bytes | bytearray) -> None:
        """Adds characters."""
        if self._is_faulty:
            return
        text = self._rest + piece if self._rest else piece
        whole = len(text) - len(text) % 4
        self._rest = bytes(text[whole:])
        if whole:
            self._decode(text[:whole])

    def finish(self) -> Content:
        """The whole content, or what is wrong with it."""
        content = self._content.finish()
        if self._is_faulty or self._rest:
            return Content(b"", content.sha256, "must be base64, padded and without line breaks")
        return content

    def _decode(self, text: bytes | bytearray) -> None:
        if self._is_padded:
            # Something follows the padding, which only the end may have.
            self._is_faulty = True
            return
        try:
            self._content.feed(binascii.a2b_base64(text, strict_mode=True))
        except binascii.Error:
            self._is_faulty = True
        self._is_padded = text.endswith(b"=")


def read_base64(text: str) -> Content:
    """The content of a whole base64 text."""
    reader = Base64Reader()
    # A character beyond ASCII is as wrong as any other that base64 does not have.
    reader.feed(text.encode("ascii", "replace"))
    return reader.finish()
