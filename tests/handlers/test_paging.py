"""Places in lists."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers import paging
from persistence.web_messages import Position
from tests.factories import web_message

OSLO = timezone(timedelta(hours=1))
FORM = re.compile("[0-9a-f]{43}")


@pytest.mark.parametrize(
    "created",
    [
        datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2500, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 1000, tzinfo=OSLO),
    ],
)
def test_decode_gives_the_place_that_encode_wrote(created: datetime) -> None:
    message = web_message(created=created)
    text = paging.encode(message)
    assert FORM.fullmatch(text)
    assert paging.decode(text) == Position(created, message.id)


def test_encode_sorts_as_lists_do() -> None:
    early = web_message(created=datetime(2026, 1, 1, tzinfo=UTC))
    late = web_message(created=datetime(2026, 1, 1, 0, 0, 0, 1000, tzinfo=UTC))
    assert paging.encode(early) < paging.encode(late)


@pytest.mark.parametrize("text", ["0" * 43, "f" * 43, "0123456789a" + "0" * 32])
def test_decode_reads_every_text_that_fits_the_contract(text: str) -> None:
    position = paging.decode(text)
    assert paging.encode(web_message(id=position.id, created=position.created)) == text
