"""Pages of lists: where one ended, as an opaque text that survives deletions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.web_messages import WebMessage
from persistence.web_messages import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_DIGITS = 11
_MILLISECOND = timedelta(milliseconds=1)


def encode(message: WebMessage) -> str:
    """The place after a message: 11 digits of milliseconds since 1970, 32 of its id, hexadecimal."""
    created = message.created or _EPOCH
    return f"{(created - _EPOCH) // _MILLISECOND:0{_TIME_DIGITS}x}{UUID(message.id).hex}"


def decode(text: str) -> Position:
    """The place that `encode` wrote; every text that fits the contract is one."""
    created = _EPOCH + int(text[:_TIME_DIGITS], 16) * _MILLISECOND
    return Position(created, str(UUID(text[_TIME_DIGITS:])))


def encode_number(number: int) -> str:
    """The place after what has this number in a queue: 16 digits, hexadecimal."""
    return f"{number:016x}"


def decode_number(text: str) -> int:
    """The number that `encode_number` wrote; every text that fits the contract is one of 63 bits."""
    return int(text, 16)
