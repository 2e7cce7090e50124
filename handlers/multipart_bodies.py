"""Decodes multipart/form-data: the part `message`, then files, each taken in as it comes."""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from domain.attachments import MAX_ATTACHMENTS, Content, ContentReader
from domain.errors import Invalid, TooLarge, Violation
from handlers.json_bodies import MAX_SKELETON_BYTES, decode, refuse

MAX_PARTS = 100
MAX_HEADER_BYTES = 16 * 1024
JSON_PART = "message"
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^\s;]*)", re.IGNORECASE)
FILE_PART = "attachments"


class MultipartReader:
    """Takes a form as it comes. Its value is the JSON body that says the same, with tokens for contents."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            refuse("must be a multipart form, with its boundary in the Content-Type", "form")
        self.lifted: dict[str, Content] = {}
        self.violations: list[Violation] = []
        self.is_files_only = False
        """Whether the value holds the files alone, since the JSON part could not be read."""
        self._json: bytearray | None = None
        self._files: list[dict[str, str]] = []
        self._parts = 0
        self._is_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._part: bytearray | ContentReader | None = None
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._read_header_name,
                    "on_header_value": self._read_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._read_part,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            refuse("must be a multipart form, with a boundary of at most 256 characters", "form")

    def feed(self, piece: bytes | bytearray) -> None:
        """Adds bytes. Raises `Invalid` when they are no form, `TooLarge` when the JSON part is too long."""
        try:
            self._parser.write(bytes(piece))
        except FormParserError:
            refuse("must be a multipart form", "form")

    def finish(self) -> Any:
        """The body, as if it had come as JSON. What is wrong with the form itself stands in `violations`."""
        # The parser knows us by our methods; without this the contents would stay until cycles are collected.
        del self._parser
        if not self._is_ended:
            refuse("must be a whole multipart form; its end is missing", "form")
        message = self._message()
        if message is None:
            self.is_files_only = True
            return {FILE_PART: self._files}
        if FILE_PART in message:
            self._fault(FILE_PART, "must be parts of the form, not in the JSON")
        return {**message, FILE_PART: self._files}

    def _message(self) -> dict[str, Any] | None:
        """The JSON part, None for one that is missing or cannot be read; that is a violation then."""
        if self._json is None:
            self._fault(JSON_PART, "must be the first part, of type application/json")
            return None
        try:
            message = decode(self._json)
        except Invalid as fault:
            self.violations += fault.violations
            return None
        if isinstance(message, dict):
            return message
        self._fault("body", "must be an object")
        return None

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            refuse("must not have so many parts", "form")
        self._headers = {}

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check_header()

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_HEADER_BYTES:
            refuse("must not have such long headers in its parts", "form")

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = _text(options.get(b"name", b"")) if disposition == b"form-data" else None
        if name == JSON_PART and self._parts == 1:
            self._part = self._begin_json()
        elif name == FILE_PART:
            self._part = self._begin_file(_file_name(self._headers[b"content-disposition"], options))
        else:
            self._part = None
            place = "must be the first part, and only once" if name == JSON_PART else "not a part of this form"
            self._fault(name or "body", place)

    def _begin_json(self) -> bytearray:
        media_type, _ = parse_options_header(self._headers.get(b"content-type", b"application/json"))
        if media_type.lower() != b"application/json":
            self._fault(JSON_PART, "must be of type application/json")
        self._json = bytearray()
        return self._json

    def _begin_file(self, raw_name: bytes) -> ContentReader | None:
        file_name = _text(raw_name)
        if file_name is None:
            self._fault(f"{FILE_PART}[{len(self._files)}].fileName", "must be UTF-8")
        token = str(len(self._files))
        # A fault in the name is told once, so a name that cannot be read is replaced by one that can.
        self._files.append({"fileName": "-" if file_name is None else file_name, "base64Data": token})
        return ContentReader() if len(self._files) <= MAX_ATTACHMENTS else None

    def _read_part(self, data: bytes, start: int, end: int) -> None:
        if isinstance(self._part, ContentReader):
            self._part.feed(memoryview(data)[start:end])
        elif self._part is not None:
            self._part += data[start:end]
            if len(self._part) > MAX_SKELETON_BYTES:
                raise TooLarge(f"The part '{JSON_PART}' must be at most {MAX_SKELETON_BYTES} bytes")

    def _end_part(self) -> None:
        if isinstance(self._part, ContentReader):
            self.lifted[self._files[-1]["base64Data"]] = self._part.finish()
        self._part = None

    def _end(self) -> None:
        self._is_ended = True

    def _fault(self, field: str, message: str) -> None:
        self.violations.append(Violation(field, message))


def _file_name(header: bytes, options: dict[bytes, bytes]) -> bytes:
    """The name of a file in UTF-8: that of `filename*` (RFC 5987) wins, which the library does not read."""
    extended = _EXTENDED_NAME.search(_QUOTED.sub(b'""', header))
    if extended is None:
        return options.get(b"filename", b"")
    raw = unquote_to_bytes(extended[2])
    return raw if extended[1].lower() == b"utf-8" else raw.decode("latin-1").encode()


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
