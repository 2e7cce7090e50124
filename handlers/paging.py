"""Cursors of lists: opaque positions that survive deletions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.web_messages import WebMessage
from persistence.web_message_lists import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_ID_DIGITS = 32
_TIME_DIGITS = 14
_UNITS = {_TIME_DIGITS: timedelta(microseconds=1), 11: timedelta(milliseconds=1)}
"""The unit of the time by its number of digits. Earlier versions issued cursors in milliseconds."""


def get_position(message: WebMessage) -> Position:
    """Return the position of a message, with the precision of the database."""
    return Position(message.created or _EPOCH, message.id)


def encode(message: WebMessage) -> str:
    """Return the cursor after a message: 14 hexadecimal digits of microseconds since 1970, 32 of its id."""
    position = get_position(message)
    return encode_position(position.created, position.id)


def encode_position(time: datetime, id_: str) -> str:
    """Return the cursor after an object with a time and an id, in the form of `encode`."""
    return f"{(time - _EPOCH) // _UNITS[_TIME_DIGITS]:0{_TIME_DIGITS}x}{UUID(id_).hex}"


def decode(text: str) -> Position:
    """Return the position in a cursor of `encode`. Every text that conforms to the contract is valid."""
    time, id_ = text[:-_ID_DIGITS], text[-_ID_DIGITS:]
    unit = _UNITS[len(time)]
    # The digits can denote a time beyond the last date, after which there are no messages.
    since = min(int(time, 16), (_LAST - _EPOCH) // unit)
    return Position(_EPOCH + since * unit, str(UUID(id_)))


def encode_number(number: int) -> str:
    """Return the cursor after a number in a queue: 16 hexadecimal digits."""
    return f"{number:016x}"


def decode_number(text: str) -> int:
    """Return the number in a cursor of `encode_number`. Every text that conforms to the contract has 63 bits."""
    return int(text, 16)
