"""Cursors of lists."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers import paging
from persistence.web_message_lists import Position
from tests.factories import build_web_message

OSLO = timezone(timedelta(hours=1))
FORM = re.compile("[0-9a-f]{46}")


@pytest.mark.parametrize(
    "created",
    [
        datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2500, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 1000, tzinfo=OSLO),
    ],
)
def test_decode_returns_the_encoded_position(created: datetime) -> None:
    message = build_web_message(created=created)
    text = paging.encode(message)
    assert FORM.fullmatch(text)
    assert paging.decode(text) == Position(created, message.id)


def test_encode_sorts_like_lists() -> None:
    early = build_web_message(created=datetime(2026, 1, 1, tzinfo=UTC))
    late = build_web_message(created=datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    assert paging.encode(early) < paging.encode(late)


@pytest.mark.parametrize("text", ["0" * 46, "00123456789abc" + "0" * 32])
def test_decode_reads_what_encode_writes(text: str) -> None:
    position = paging.decode(text)
    assert paging.encode(build_web_message(id=position.id, created=position.created)) == text


@pytest.mark.parametrize("length", [43, 46])
def test_decode_accepts_every_cursor_of_the_contract(length: int) -> None:
    assert paging.decode("f" * length).id == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert paging.decode("0" * length).created == datetime(1970, 1, 1, tzinfo=UTC)


def test_decode_accepts_cursors_of_earlier_versions() -> None:
    created = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
    milliseconds = int(created.timestamp() * 1000)
    message = build_web_message()
    assert paging.decode(f"{milliseconds:011x}{message.id.replace('-', '')}") == Position(created, message.id)
