"""Decode multipart/form-data while it is received: the part `message`, then files."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

from domain.attachments import MAX_ATTACHMENTS, Content, ContentReader
from domain.errors import Invalid, TooLarge, Violation
from openapi.bodies.json_reader import LONG_TEXT_BYTES, MAX_SKELETON_BYTES, JsonReader, decode, refuse

MAX_PARTS = 100
MAX_HEADER_BYTES = 16 * 1024
"""Maximum bytes of all headers of a part, and of the white space after a boundary."""
MAX_BOUNDARY_BYTES = 256
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^\s;]*)", re.IGNORECASE)
FILE_PART = "attachments"
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})
"""Content transfer encodings that leave the bytes unchanged (RFC 2045, section 6)."""
_ENCODED = "must be sent unencoded: its Content-Transfer-Encoding may be 7bit, 8bit or binary"


@dataclass(frozen=True, slots=True)
class FormLayout:
    """The parts of a form: one with JSON, and files. A strict form begins with the JSON, and has no other parts."""

    json_part: str = "message"
    is_strict: bool = True


MESSAGE_FORM = FormLayout()
"""The form of web messages."""


class MultipartReader:
    """Parses a form while it is received. Its value is the equivalent JSON body, with tokens for contents."""

    def __init__(self, content_type: str, layout: FormLayout = MESSAGE_FORM) -> None:
        self._layout = layout
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            refuse("must be a multipart form, with its boundary in the Content-Type", "form")
        self.contents: dict[str, Content] = {}
        self.violations: list[Violation] = []
        self.is_files_only = False
        """Whether the value contains only the files, because the JSON part could not be parsed."""
        self._json: bytearray | None = None
        self._is_json_encoded = False
        self._files: list[dict[str, str]] = []
        self._parts = 0
        self._part: bytearray | ContentReader | None = None
        if len(boundary) > MAX_BOUNDARY_BYTES:
            refuse(f"must be a multipart form, with a boundary of at most {MAX_BOUNDARY_BYTES} characters", "form")
        self._splitter = _PartSplitter(boundary)

    def feed(self, piece: bytes | bytearray) -> None:
        """Add bytes. Raises `Invalid` if they are not a form, `TooLarge` if the JSON part is too long."""
        self._splitter.feed(piece, self)

    def finish(self) -> Any:
        """Return the equivalent of a JSON body. Faults of the form itself are in `violations`."""
        if not self._splitter.is_ended:
            fault = "the final boundary is missing" if self._parts else "no boundary was found"
            refuse(f"must be a complete multipart form; {fault}", "form")
        message = self._decode_message()
        if message is None:
            self.is_files_only = True
            return {FILE_PART: self._files}
        if self._layout.is_strict and FILE_PART in message:
            self._add_violation(FILE_PART, "must be parts of the form, not in the JSON")
        return {**message, FILE_PART: self._files}

    def _decode_message(self) -> dict[str, Any] | None:
        """Return the JSON part, or None with a violation if it is missing or cannot be parsed."""
        if self._json is None:
            place = "the first part" if self._layout.is_strict else "a part"
            self._add_violation(self._layout.json_part, f"must be {place}, of type application/json")
            return None
        if self._is_json_encoded:
            self._add_violation(self._layout.json_part, _ENCODED)
            return None
        try:
            message = _decode_part(self._json)
        except Invalid as fault:
            self.violations += fault.violations
            return None
        if isinstance(message, dict):
            return message
        self._add_violation("body", "must be an object")
        return None

    def begin_part(self, headers: dict[bytes, bytes]) -> None:
        """Begin a part with these headers."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            refuse(f"must have at most {MAX_PARTS} parts", "form")
        disposition, options = parse_options_header(headers.get(b"content-disposition"))
        name = _decode_text(options.get(b"name", b"")) if disposition == b"form-data" else None
        is_encoded = headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS
        layout = self._layout
        is_placed = self._parts == 1 if layout.is_strict else self._json is None
        if name == layout.json_part and is_placed:
            self._part = self._begin_json(headers, is_encoded=is_encoded)
        elif name == FILE_PART:
            if is_encoded:
                self._add_violation(f"{FILE_PART}[{len(self._files)}]", _ENCODED)
            self._part = self._begin_file(_decode_file_name(headers[b"content-disposition"], options))
        else:
            self._part = None
            if name == layout.json_part:
                self._add_violation(name, f"must be {'the first part, and ' if layout.is_strict else ''}only once")
            elif layout.is_strict:
                parts = f"{layout.json_part} and {FILE_PART}"
                self._add_violation(name or "body", f"not a part of this form, which has the parts {parts}")

    def _begin_json(self, headers: dict[bytes, bytes], *, is_encoded: bool) -> bytearray:
        media_type, _ = parse_options_header(headers.get(b"content-type", b"application/json"))
        if media_type.lower() != b"application/json":
            self._add_violation(self._layout.json_part, "must be of type application/json")
        self._is_json_encoded = is_encoded
        self._json = bytearray()
        return self._json

    def _begin_file(self, raw_name: bytes) -> ContentReader | None:
        file_name = _decode_text(raw_name)
        if file_name is None:
            self._add_violation(f"{FILE_PART}[{len(self._files)}].fileName", "must be UTF-8")
        token = str(len(self._files))
        # Report an invalid name only once: replace it by a valid one for the schema.
        self._files.append({"fileName": "-" if file_name is None else file_name, "base64Data": token})
        return ContentReader() if len(self._files) <= MAX_ATTACHMENTS else None

    def read_part(self, data: memoryview) -> None:
        """Add content to the part."""
        if isinstance(self._part, ContentReader):
            self._part.feed(data)
        elif self._part is not None:
            self._part += data
            if len(self._part) > MAX_SKELETON_BYTES:
                raise TooLarge(f"The part '{self._layout.json_part}' must be at most {MAX_SKELETON_BYTES} bytes")

    def end_part(self) -> None:
        """End the part."""
        if isinstance(self._part, ContentReader):
            self.contents[self._files[-1]["base64Data"]] = self._part.finish()
        self._part = None

    def _add_violation(self, field: str, message: str) -> None:
        self.violations.append(Violation(field, message))


def _decode_part(text: bytearray) -> Any:
    """Return the value of a JSON part. Raises `Invalid`."""
    if len(text) <= LONG_TEXT_BYTES:
        return decode(text)
    reader = JsonReader(has_files=False)
    for start in range(0, len(text), LONG_TEXT_BYTES):
        reader.feed(text[start : start + LONG_TEXT_BYTES])
    return reader.finish()


class _PartSplitter:
    """Splits a form into its parts (RFC 2046, section 5.1; RFC 7578), in pieces of any size.

    It skips the preamble and the epilogue, accepts white space after a boundary, and unfolds header lines. A line that
    begins with the boundary but continues differently is content.

    It stores references neither to the reader nor to its own methods: in a reference cycle, the files of the reader
    would stay in memory until the next garbage collection.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._in_part = False
        # The first boundary need not follow a line break, so add one.
        self._buffer = bytearray(b"\r\n")
        self._skipped = 2
        """Bytes at the start of the buffer that may belong to a boundary but are not content."""
        self._step: _Step = _PartSplitter._read_content
        self.is_ended = False

    def feed(self, piece: bytes | bytearray, reader: MultipartReader) -> None:
        """Add bytes, and pass the parts on to the reader. Raises `Invalid`."""
        self._buffer += piece
        while self._step(self, reader):
            pass

    def _read_content(self, reader: MultipartReader) -> bool:
        end = self._buffer.find(self._delimiter)
        if end < 0:
            # The rest may be the beginning of a boundary.
            start = self._buffer.rfind(b"\r", max(0, len(self._buffer) - len(self._delimiter) + 1))
            may_continue = start >= 0 and self._delimiter.startswith(self._buffer[start:])
            self._pass_on(start if may_continue else len(self._buffer), reader)
            return False
        self._pass_on(end, reader)
        self._step = _PartSplitter._read_delimiter
        return True

    def _pass_on(self, end: int, reader: MultipartReader) -> None:
        """Pass on the content up to this position, and remove it from the buffer."""
        if self._in_part and end > self._skipped:
            with memoryview(self._buffer) as view:
                reader.read_part(view[self._skipped : end])
        if end:
            del self._buffer[:end]
            self._skipped = 0

    def _read_delimiter(self, reader: MultipartReader) -> bool:
        after = len(self._delimiter)
        line_end = _LINE_END.match(self._buffer, after)
        if line_end is None and _OPEN_LINE_END.fullmatch(self._buffer, after):
            if len(self._buffer) > MAX_HEADER_BYTES:
                refuse(f"must have at most {MAX_HEADER_BYTES} bytes of white space after a boundary", "form")
            return False
        if line_end is None:
            self._pass_on(after, reader)
            self._step = _PartSplitter._read_content
            return True
        if self._in_part:
            self._in_part = False
            reader.end_part()
        self.is_ended = line_end[0] == b"--"
        self._step = _PartSplitter._skip_epilogue if self.is_ended else _PartSplitter._read_headers
        del self._buffer[: line_end.end()]
        return True

    def _read_headers(self, reader: MultipartReader) -> bool:
        end = 0
        if not self._buffer.startswith(b"\r\n"):
            last_line_end = self._buffer.find(b"\r\n\r\n")
            end = len(self._buffer) if last_line_end < 0 else last_line_end + 2
            if end > MAX_HEADER_BYTES:
                refuse(f"must have at most {MAX_HEADER_BYTES} bytes of headers in each part", "form")
            if last_line_end < 0:
                return False
        headers = _parse_headers(bytes(self._buffer[:end]))
        # Keep the empty line: a boundary may follow it directly.
        del self._buffer[:end]
        self._skipped = 2
        self._in_part = True
        reader.begin_part(headers)
        self._step = _PartSplitter._read_content
        return True

    def _skip_epilogue(self, _reader: MultipartReader) -> bool:
        self._buffer.clear()
        return False


_Step = Callable[[_PartSplitter, MultipartReader], bool]
_LINE_END = re.compile(rb"--|[ \t]*\r\n")
_OPEN_LINE_END = re.compile(rb"-|[ \t]*\r?")
_FOLD = re.compile(rb"\r\n[ \t]+")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\0]*?)[ \t]*")


def _parse_headers(block: bytes) -> dict[bytes, bytes]:
    """Return the headers of a part, by their lower-case names."""
    headers: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", block).split(b"\r\n")[:-1]:
        header = _HEADER.fullmatch(line)
        if header is None:
            refuse("must be a multipart form; a part has an invalid header line", "form")
        name = header[1].lower()
        if name in headers:
            refuse("must be a multipart form; a part has two headers of the same name", "form")
        headers[name] = header[2]
    return headers


def _decode_file_name(header: bytes, options: dict[bytes, bytes]) -> bytes:
    """Return the name of a file in UTF-8. `filename*` (RFC 5987), which the library ignores, takes precedence."""
    extended = _EXTENDED_NAME.search(_QUOTED.sub(b'""', header))
    if extended is None:
        return options.get(b"filename", b"")
    raw = unquote_to_bytes(extended[2])
    return raw if extended[1].lower() == b"utf-8" else raw.decode("latin-1").encode()


def _decode_text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
