"""Receive bodies: stop at their limit, and decode large ones outside the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from domain.attachments import Content
from domain.errors import TooLarge, Violation
from openapi.bodies.budget import STEP_BYTES, Reservation
from openapi.bodies.json_reader import JsonReader, PlainJsonReader, decode, refuse
from openapi.bodies.multipart_reader import MESSAGE_FORM, FormLayout, MultipartReader

JSON = "application/json"
MULTIPART = "multipart/form-data"

SMALL_BYTES = 256 * 1024
"""Maximum bytes that are decoded in the event loop: decoding them takes about as long as a switch to a thread."""

BATCH_BYTES = 1024 * 1024

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class _Reader(Protocol):
    contents: dict[str, Content]

    def feed(self, piece: bytes | bytearray) -> None: ...

    def finish(self) -> Any: ...


@dataclass(slots=True)
class Body:
    """A decoded body. A `base64Data` value that is a key of `contents` represents that content."""

    value: Any
    contents: dict[str, Content] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    is_large: bool = False
    is_files_only: bool = False
    """Whether the value contains only the files of a form; `violations` has the other faults."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The accepted media types and the maximum bytes of the body of an operation."""

    media_types: tuple[str, ...]
    max_bytes: int
    has_files: bool = False
    """Whether the body may have files (base64 in JSON)."""
    form: FormLayout = MESSAGE_FORM


async def receive_body(
    receive: Receive,
    media_type: str,
    content_type: str,
    length: int | None,
    allowance: Allowance,
    reservation: Reservation,
) -> Body:
    """Return the body of a request.

    `length` is the Content-Length, None if absent. Raises `TooLarge` as soon as more bytes are announced or received
    than are allowed, `Overloaded` if large bodies already use all reserved memory, `Unreadable` for a body that does
    not conform to its media type or is incomplete.
    """
    limit = allowance.max_bytes
    if length is not None and length > limit:
        raise TooLarge(f"The body must be at most {limit} bytes", limit)
    if length is not None and length > SMALL_BYTES:
        await reservation.cover(length)
    pending = bytearray()
    total = 0
    json_reader = JsonReader if allowance.has_files else PlainJsonReader
    reader: _Reader | None = MultipartReader(content_type, allowance.form) if media_type == MULTIPART else None
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            refuse("must be complete; the connection was closed before", "incomplete")
        piece = message.get("body", b"")
        total += len(piece)
        if total > limit:
            raise TooLarge(f"The body must be at most {limit} bytes", limit)
        if total > SMALL_BYTES and length is None:
            await reservation.cover(min(limit, -(-total // STEP_BYTES) * STEP_BYTES))
        pending += piece
        more = message.get("more_body", False)
        if len(pending) >= BATCH_BYTES:
            reader = reader or json_reader()
            await asyncio.to_thread(reader.feed, pending)
            pending = bytearray()
    if reader is None and total > SMALL_BYTES:
        reader = json_reader()
    return await _finish(reader, pending, total)


async def _finish(reader: _Reader | None, rest: bytearray, total: int) -> Body:
    if reader is None:
        return Body(decode(rest))
    last = reader

    def finish() -> Body:
        last.feed(rest)
        value = last.finish()
        body = Body(value, last.contents, is_large=total > SMALL_BYTES)
        if isinstance(last, MultipartReader):
            body.violations, body.is_files_only = last.violations, last.is_files_only
        return body

    return finish() if total <= SMALL_BYTES else await asyncio.to_thread(finish)
