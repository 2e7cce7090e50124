"""Decode untrusted JSON: small bodies at once, large ones with their base64 extracted.

A parser holds the GIL while it runs: half a second for 140 MB. Therefore the values of `base64Data` in large bodies
are extracted and decoded piece by piece while they are received, and long texts are decoded at the end. The remaining
JSON is small.
"""

import codecs
import json
import re
import secrets
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from domain.attachments import Base64Reader, Content
from domain.errors import TooLarge
from openapi.errors.faults import Reason, Unreadable

MAX_DEPTH = 64
MAX_VALUES = 200_000
"""Maximum strings, commas and opening brackets. A message has some dozens; each costs some microseconds."""
MAX_CONTAINERS = 250_000
"""Maximum opening brackets in a body without files: more than the largest set of subscriptions has."""
MAX_RUN = 25_000
"""Maximum values between the ends of two objects, in a body without files.

A parser reads them without interruption. An entry of a list has about a dozen.
"""
LONG_TEXT_BYTES = 1024 * 1024
"""Longer texts are decoded separately, in pieces."""
MAX_REST_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a body besides base64 and long texts. A parser reads them without interruption."""
MAX_SKELETON_BYTES = 64 * 1024 * 1024
"""Maximum bytes of a body besides base64: the longest text that Open-E accepts, with non-ASCII characters escaped."""

_EXTRACTED_PROPERTY = b'"base64Data"'
_STRING_CONTENT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PIECE = 128 * 1024
"""Bytes that are searched or decoded at a time. Other tasks run between two pieces."""
_ESCAPES = re.compile(
    r"(?:[^\\]|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}(?:[^\\]|\\[^u]|\\u[0-9a-fA-F]{4}))*",
    re.DOTALL,
)
"""Characters and complete escapes. A high surrogate at the end is incomplete.

The repetition is not possessive: after an iteration that fails within a group, Python 3.11.2 returns a wrong end.
"""
_LONGEST_ESCAPE = 12
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SURROGATE_FAULT = "must not contain an unpaired surrogate"
_DEPTH_FAULT = f"must be nested at most {MAX_DEPTH} levels deep"
_NOT_STRUCTURAL = bytes(set(range(256)) - set(b'",:[{}]'))
_MAX_BETWEEN = 64
"""Maximum white space around the colon of an extracted property. With more, the property is parsed with the rest."""


def decode(text: bytes | bytearray) -> Any:
    """Return the value of a JSON text in UTF-8, with or without a byte order mark (RFC 8259, section 8.1).

    Raises `Invalid` for anything that is not strict JSON in UTF-8.
    """
    if b"\0" in text[:4]:
        # UTF-16 and UTF-32 have a NUL here, with or without a byte order mark (RFC 4627, section 3).
        refuse("must be JSON in UTF-8", "utf-8")
    try:
        decoded = text.decode().removeprefix("\ufeff")
        if decoded.startswith("\ufeff"):
            refuse("must be JSON: it begins with more than one byte order mark", "json")
        value = _DECODER.decode(decoded)
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
            _check_depth(value)
        if b"\\u" in text and _may_contain_surrogates(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        refuse("must be JSON in UTF-8", "utf-8")
    except UnicodeEncodeError:
        refuse(_SURROGATE_FAULT, "surrogate")
    except RecursionError:
        refuse(_DEPTH_FAULT, "depth")
    except json.JSONDecodeError as exc:
        raise Unreadable(f"must be JSON: {exc}", "json", (exc.lineno, exc.colno)) from exc
    except ValueError:
        # The only other error is an integer with more digits than Python converts.
        refuse(f"must not contain an integer of more than {sys.get_int_max_str_digits()} digits", "number")
    return value


class JsonReader:
    """Parses a large JSON text while it is received. Each base64Data becomes a token, whose content is in `contents`.

    Without files, base64Data is an ordinary text.
    """

    def __init__(self, *, has_files: bool = True) -> None:
        self.contents: dict[str, Content] = {}
        self._has_files = has_files
        self._long_texts: list[tuple[int, int]] = []
        self._long_bytes = 0
        self._text_start = 0
        self._token = secrets.token_hex(8)
        self._skeleton = bytearray()
        self._values = 0
        self._carry = b""
        self._in_string = False
        self._between = bytearray()
        self._after_property = False
        self._string = bytearray()
        self._base64: _EscapedBase64Reader | None = None

    def feed(self, piece: bytes | bytearray) -> None:
        """Add bytes. Raises `TooLarge` or `Invalid` if they exceed what a message can contain."""
        chunk = self._carry + piece
        self._carry = b""
        position = 0
        while position < len(chunk):
            position = self._read_string(chunk, position) if self._in_string else self._read_outside(chunk, position)
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise TooLarge(f"The body must be at most {MAX_SKELETON_BYTES} bytes, not counting attachments")
        read = self._text_start if self._in_string else len(self._skeleton)
        if read - self._long_bytes > MAX_REST_BYTES:
            raise TooLarge(
                f"The body must be at most {MAX_REST_BYTES} bytes, not counting attachments and texts of more than "
                f"{LONG_TEXT_BYTES} bytes"
            )
        if self._values > MAX_VALUES:
            refuse(f"must contain at most {MAX_VALUES} strings, commas and opening brackets", "values")

    def finish(self) -> Any:
        """Return the value. Raises `Invalid`."""
        self._skeleton += self._carry
        texts: dict[str, str] = {}
        for start, end in reversed(self._long_texts):
            token = f"{self._token}-text-{len(texts)}"
            texts[token] = _decode_long_text(self._skeleton, start, end)
            self._skeleton[start:end] = token.encode()
        value = decode(self._skeleton)
        return _insert_texts(value, texts) if texts else value

    def _read_outside(self, chunk: bytes, position: int) -> int:
        end = chunk.find(b'"', position)
        outside = chunk[position:] if end < 0 else chunk[position:end]
        self._skeleton += outside
        self._values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self._after_property and len(self._between) <= _MAX_BETWEEN:
            self._between += outside[: _MAX_BETWEEN + 1]
        if end < 0:
            return len(chunk)
        self._in_string = True
        if self._after_property and len(self._between) <= _MAX_BETWEEN and _COLON.fullmatch(self._between):
            self._base64 = _EscapedBase64Reader()
        else:
            self._string = bytearray(b'"')
            self._skeleton += b'"'
            self._text_start = len(self._skeleton)
        self._after_property = False
        return end + 1

    def _read_string(self, chunk: bytes, position: int) -> int:
        match = _STRING_CONTENT.match(chunk, position)
        end = match.end() if match else position
        self._add_to_string(chunk[position:end])
        if end == len(chunk):
            return end
        if chunk[end : end + 1] != b'"':
            # A backslash whose escape continues in the next piece.
            self._carry = chunk[end:]
            return len(chunk)
        self._end_string()
        return end + 1

    def _add_to_string(self, inner: bytes) -> None:
        if self._base64 is not None:
            self._base64.feed(inner)
            return
        self._skeleton += inner
        if len(self._string) <= len(_EXTRACTED_PROPERTY):
            self._string += inner[: len(_EXTRACTED_PROPERTY)]

    def _end_string(self) -> None:
        self._in_string = False
        self._values += 1
        if self._base64 is not None:
            if self._base64.is_empty:
                self._skeleton += b'""'
            else:
                token = f"{self._token}-{len(self.contents)}"
                self.contents[token] = self._base64.finish()
                self._skeleton += b'"%s"' % token.encode()
            self._base64 = None
            return
        if len(self._skeleton) - self._text_start > LONG_TEXT_BYTES:
            self._long_texts.append((self._text_start, len(self._skeleton)))
            self._long_bytes += len(self._skeleton) - self._text_start
        self._skeleton += b'"'
        self._after_property = self._has_files and self._string + b'"' == _EXTRACTED_PROPERTY
        self._between = bytearray()


class PlainJsonReader:
    """Receives a large JSON text without files, and parses it as a whole at the end.

    It limits the objects and lists, because two bytes of text take some hundred bytes of memory. It also limits the
    values between the ends of two objects: the parser calls our code only at the end of each object, and other tasks
    run then.
    """

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self._text = bytearray()
        self._counted = 0
        self._containers = 0
        self._carry = b""
        self._run = 0

    def feed(self, piece: bytes | bytearray) -> None:
        """Add bytes. Raises `Unreadable` if they contain more objects, lists or values than any contract accepts."""
        self._text += piece
        self._containers += piece.count(b"[") + piece.count(b"{")
        if self._containers > MAX_CONTAINERS:
            refuse(f"must contain at most {MAX_CONTAINERS} opening brackets", "values")
        # Count up to the end of an object, so that few pieces end within a string.
        end = self._text.rfind(b"}", self._counted) + 1 or len(self._text)
        self._count(self._counted, end)
        self._counted = end

    def finish(self) -> Any:
        """Return the value. Raises `Unreadable`."""
        self._count(self._counted, len(self._text))
        return decode(self._text)

    def _count(self, start: int, end: int) -> None:
        for place in range(start, end, _PIECE):
            self._count_piece(self._carry + self._text[place : min(place + _PIECE, end)])

    def _count_piece(self, piece: bytes) -> None:
        """Count the values of each run. `_carry` is the beginning of a string that continues in the next piece."""
        self._carry = b""
        # A piece without escapes can be reduced to its structural characters, in which most strings are empty.
        structure = piece if b"\\" in piece else piece.translate(None, _NOT_STRUCTURAL)
        outside = structure.replace(b'""', b"") if structure is not piece else structure
        if b'"' in outside:
            outside = _STRING.sub(b"", structure)
            start = outside.find(b'"')
            if start >= 0:
                ending = len(outside) - len(outside.rstrip(b"\\"))
                self._carry = b'"\\' if ending % 2 else b'"'
                outside = outside[:start]
        for part in outside.split(b"}"):
            self._run += part.count(b",") + part.count(b"[") + part.count(b"{")
            if self._run > MAX_RUN:
                refuse(f"must contain at most {MAX_RUN} values between the ends of two objects", "values")
            last, self._run = self._run, 0
        # The last run continues.
        self._run = last


class _EscapedBase64Reader:
    """Decodes base64 within a JSON string, in which `/` and `+` may be escaped."""

    def __init__(self) -> None:
        self.is_empty = True
        self._reader = Base64Reader()
        self._held = b""
        self._is_faulty = False

    def feed(self, inner: bytes) -> None:
        """Add the content of the string. Only a numeric escape may be incomplete at the end."""
        self.is_empty = self.is_empty and not inner
        inner = self._held + inner
        start = inner.rfind(b"\\u", max(0, len(inner) - len(r"\uXXX")))
        self._held = inner[start:] if start >= 0 else b""
        self._decode(inner[:start] if start >= 0 else inner)

    def finish(self) -> Content:
        """Return the content, or a content with a fault."""
        self._decode(self._held)
        if self._is_faulty:
            # This character is invalid in base64.
            self._reader.feed(b"!")
        return self._reader.finish()

    def _decode(self, inner: bytes) -> None:
        if b"\\" in inner:
            try:
                inner = json.loads(b'"%s"' % inner).encode("ascii")
            except ValueError:
                self._is_faulty = True
        if not self._is_faulty:
            self._reader.feed(inner)


def _decode_long_text(raw: bytearray, start: int, end: int) -> str:
    """Return the content of a JSON string, decoded in pieces. Raises `Unreadable`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces: list[str] = []
    held = ""
    try:
        for place in range(start, end, _PIECE):
            text = held + decoder.decode(bytes(raw[place : min(place + _PIECE, end)]), place + _PIECE >= end)
            whole = len(text) if place + _PIECE >= end else _find_split(text)
            held = text[whole:]
            piece = json.loads(f'"{text[:whole]}"')
            if "\\ud" in text or "\\uD" in text:
                piece.encode()
            pieces.append(piece)
    except UnicodeDecodeError:
        refuse("must be JSON in UTF-8", "utf-8")
    except UnicodeEncodeError:
        refuse(_SURROGATE_FAULT, "surrogate")
    except ValueError as exc:
        message = (
            f"must be JSON: a text of more than {LONG_TEXT_BYTES} bytes contains an invalid escape or an unescaped "
            "control character"
        )
        raise Unreadable(message, "json") from exc
    return "".join(pieces)


def _find_split(text: str) -> int:
    """Return a position at which a text can be split without splitting an escape or a surrogate pair."""
    start = text.find("\\", max(0, len(text) - _LONGEST_ESCAPE))
    if start < 0:
        return len(text)
    # The first of several backslashes escapes the next one.
    start = len(text[:start].rstrip("\\"))
    match = _ESCAPES.match(text, start)
    end = match.end() if match else start
    # A longer sequence is not an escape; the parser reports it.
    return end if len(text) - end <= _LONGEST_ESCAPE else len(text)


def _insert_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """Return a value with each token replaced by its text."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_insert_texts(inner, texts) for inner in value]
    if isinstance(value, dict):
        return {texts.get(name, name): _insert_texts(inner, texts) for name, inner in value.items()}
    return value


def _may_contain_surrogates(text: bytes | bytearray) -> bool:
    # Search in pieces: a search among many escapes takes as long as parsing them.
    places = range(0, len(text), _PIECE)
    return any(_SURROGATE.search(text, place, place + _PIECE + _LONGEST_ESCAPE) for place in places)


def refuse(message: str, reason: Reason) -> NoReturn:
    """Raise `Unreadable` for the body as a whole."""
    raise Unreadable(message, reason)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        refuse("must not contain a property twice in one object", "twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    refuse(f"must be JSON, which does not allow {name}", "json")


def _parse_float(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        refuse("must not contain a number outside the 64-bit float range", "number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_build_object, parse_float=_parse_float)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [inner for inner in level if isinstance(inner, dict | list)]
        if not containers:
            return
        level = [inner for outer in containers for inner in (outer.values() if isinstance(outer, dict) else outer)]
    refuse(_DEPTH_FAULT, "depth")
