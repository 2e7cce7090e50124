"""Encode messages as JSON: long texts in pieces, and contents of files while they are sent."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from domain.web_messages import Attachment, WebMessage
from openapi import replies
from persistence import web_messages as stored
from persistence.database import Database

LONG_TEXT = 256 * 1024
"""Longer messages are encoded in a thread, in pieces: the JSON encoder holds the GIL while it runs."""

TEXT_PIECE = 64 * 1024

_PLACEHOLDER = "-"


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """The format of messages in a contract: the values of a message without contents, and of one of its files."""

    to_value: Callable[[WebMessage], Mapping[str, Any]]
    attachment_to_value: Callable[[Attachment], Mapping[str, Any]]

    async def write_all(self, page: Sequence[WebMessage]) -> bytes:
        """Return messages as JSON, separated by commas, without the contents of their attachments."""
        if any(len(message.message) > LONG_TEXT for message in page):
            return b",".join([await self.write(message) for message in page])
        return replies.to_json([self.to_value(message) for message in page])[1:-1]

    async def write(self, message: WebMessage) -> bytes:
        """Return a message as JSON, without the contents of its attachments."""
        if len(message.message) <= LONG_TEXT:
            return replies.to_json(self.to_value(message))
        return await asyncio.to_thread(self._write_long, message)

    async def split_around_contents(self, message: WebMessage) -> list[bytes]:
        """Return the JSON of a message, split where the base64 texts of its attachments are inserted."""
        files = [replies.to_json(self.attachment_to_value(attachment)) for attachment in message.attachments]
        heads = [file[:-1] + b',"base64Data":"' for file in files]
        begin = (await self.write(replace(message, attachments=())))[:-1] + b',"attachments":['
        if not heads:
            return [begin + b"]}"]
        return [begin + heads[0], *(b'"},' + head for head in heads[1:]), b'"}]}']

    def _write_long(self, message: WebMessage) -> bytes:
        text = message.message
        pieces = (replies.to_json(text[start : start + TEXT_PIECE])[1:-1] for start in range(0, len(text), TEXT_PIECE))
        # Quotes within other texts are escaped, so only the text itself is found.
        value = self.to_value(replace(message, message=_PLACEHOLDER))
        head, _, tail = replies.to_json(value).partition(b'"message":"%s"' % _PLACEHOLDER.encode())
        return b'%s"message":"%s"%s' % (head, b"".join(pieces), tail)


def write_time(time: datetime) -> str:
    """Return a time as `isoformat` does with milliseconds, which takes three times as long."""
    text = orjson.dumps(time)[1:-1].decode()
    return f"{text[:23]}{text[26:]}" if time.microsecond else f"{text[:19]}.000{text[19:]}"


async def insert_contents(database: Database, message: WebMessage, segments: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield the JSON of a message with the contents of its attachments between its `segments`."""
    for segment, attachment in zip(segments[:-1], message.attachments, strict=True):
        yield segment
        async for piece in stored.read_attachment(database, attachment):
            yield base64.b64encode(piece)
    yield segments[-1]


def compute_length(message: WebMessage, segments: Sequence[bytes]) -> int:
    """Return the number of bytes that `insert_contents` yields."""
    return sum(map(len, segments)) + sum((each.size + 2) // 3 * 4 for each in message.attachments)
