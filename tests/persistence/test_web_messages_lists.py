"""Lists and their pages in the database."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from domain.web_messages import ExternalReference, WebMessage
from persistence import web_message_lists
from persistence import web_messages as stored
from persistence.database import Database
from persistence.web_message_lists import PAGE_BYTES, Position, is_last_page
from persistence.work import short_write
from tests.factories import NOW, build_web_message

pytestmark = pytest.mark.anyio

PARTY = "11111111-5798-11e9-ae24-57fa13b361e1"
REFERENCE = ExternalReference("errand", "1")

List = Callable[[Database, int, Position | None], Awaitable[list[WebMessage]]]


async def list_by_party(database: Database, limit: int, after: Position | None) -> list[WebMessage]:
    return await web_message_lists.list_by_party(database, PARTY, limit, after)


async def list_by_reference(database: Database, limit: int, after: Position | None) -> list[WebMessage]:
    return await web_message_lists.list_by_reference(database, REFERENCE, limit, after)


both_lists = pytest.mark.parametrize("list_messages", [list_by_party, list_by_reference], ids=["party", "reference"])


async def put(database: Database, *milliseconds: int) -> list[WebMessage]:
    """Store a message created at each of these times, and return them in the order of a list."""
    messages = [
        build_web_message(
            party_id=PARTY,
            external_references=(REFERENCE, ExternalReference("errand", "2")),
            created=NOW + timedelta(milliseconds=moment),
        )
        for moment in milliseconds
    ]
    for message in messages:
        await stored.store(database, message)
    return sorted(messages, key=lambda message: (message.created, message.id))


def get_position(message: WebMessage) -> Position:
    assert message.created is not None
    return Position(message.created, message.id)


@both_lists
async def test_lists_are_ordered_by_time_then_id(database: Database, list_messages: List) -> None:
    messages = await put(database, 2, 1, 1, 0, 1, -(10**9), 10**9)
    assert await list_messages(database, 100, None) == messages


@both_lists
@pytest.mark.parametrize(
    "created",
    ["2026-03-01 12:00:00", "2026-03-01 12:00:00.5", "2026-03-01 12:00:00.123", "2026-03-01 12:00:00.123456789"],
)
async def test_pages_contain_each_message_once_with_imported_times(
    database: Database, list_messages: List, created: str
) -> None:
    """Rows that another program wrote may have times in another form than ours."""

    @short_write
    def import_times(connection: sa.Connection) -> None:
        for table in ("web_messages", "web_message_references"):
            connection.exec_driver_sql(f"update {table} set created = '{created}'")

    messages = await put(database, 0, 0, 0)
    await database.write(import_times)
    found: list[WebMessage] = []
    while len(found) <= len(messages):
        page = await list_messages(database, 1, get_position(found[-1]) if found else None)
        if not page:
            break
        found += page
    assert [message.id for message in found] == sorted(message.id for message in messages)


@both_lists
async def test_pages_contain_each_message_once_with_equal_times(database: Database, list_messages: List) -> None:
    messages = await put(database, *[0] * 7, 1, 1)
    for limit in (1, 2, 3, 9):
        found: list[WebMessage] = []
        after = None
        while page := await list_messages(database, limit, after):
            assert len(page) <= limit
            found += page
            after = get_position(page[-1])
        assert found == messages


@both_lists
async def test_pages_are_continuous_with_deletions(database: Database, list_messages: List) -> None:
    messages = await put(database, 0, 0, 0, 0, 0)
    first = await list_messages(database, 2, None)
    assert first == messages[:2]
    for message in messages[:3]:
        await stored.delete(database, message.id)
    assert await list_messages(database, 2, get_position(first[-1])) == messages[3:]


@both_lists
async def test_pages_contain_messages_that_are_added_after_them(database: Database, list_messages: List) -> None:
    messages = await put(database, 0, 1)
    added = await put(database, -1, 2)
    assert await list_messages(database, 10, get_position(messages[-1])) == added[1:]


@both_lists
async def test_cursor_needs_no_message(database: Database, list_messages: List) -> None:
    messages = await put(database, 0, 10)
    between = Position(NOW + timedelta(milliseconds=5), "ffffffff-ffff-ffff-ffff-ffffffffffff")
    assert await list_messages(database, 10, between) == messages[1:]
    at_first = Position(NOW, "00000000-0000-0000-0000-000000000000")
    assert await list_messages(database, 10, at_first) == messages
    assert await list_messages(database, 10, Position(NOW, "ffffffff-ffff-ffff-ffff-ffffffffffff")) == messages[1:]


async def test_list_by_party_contains_only_messages_of_that_party(database: Database) -> None:
    messages = await put(database, 0)
    await stored.store(database, build_web_message(party_id=None))
    await stored.store(database, build_web_message())
    assert await list_by_party(database, 10, None) == messages


async def test_list_by_reference_compares_exactly(database: Database) -> None:
    messages = await put(database, 0)
    assert await list_by_reference(database, 10, None) == messages
    for key, value in (("Errand", "1"), ("errand", "1 "), ("errand", "11"), ("erran_", "1"), ("errand", "%")):
        assert await web_message_lists.list_by_reference(database, ExternalReference(key, value), 10, None) == []


async def test_list_by_reference_distinguishes_similar_texts(database: Database) -> None:
    composed, decomposed = (
        build_web_message(external_references=(ExternalReference("errand", value),)) for value in ("\u00e5", "a\u030a")
    )
    for message in (composed, decomposed):
        await stored.store(database, message)
        [reference] = message.external_references
        assert await web_message_lists.list_by_reference(database, reference, 10, None) == [message]


@both_lists
async def test_page_is_limited_in_bytes(database: Database, list_messages: List) -> None:
    messages = []
    for number in range(7):
        # The second is larger than a page by itself.
        text = "æ" * (PAGE_BYTES if number == 1 else PAGE_BYTES // 6)
        message = build_web_message(
            party_id=PARTY,
            message=text,
            external_references=(REFERENCE,),
            created=NOW + timedelta(seconds=number),
        )
        await stored.store(database, message)
        messages.append(message)
    found: list[WebMessage] = []
    pages = 0
    is_last = False
    while not is_last:
        page = await list_messages(database, 100, get_position(found[-1]) if found else None)
        assert len(page) <= 4
        is_last = is_last_page(page, 100)
        found += page
        pages += 1
    assert found == messages
    assert pages > 2


@both_lists
async def test_last_page_is_detected_without_another_query(database: Database, list_messages: List) -> None:
    messages = await put(database, 1, 2, 3)
    assert not is_last_page(await list_messages(database, 3, None), 3)
    page = await list_messages(database, 4, None)
    assert (page, is_last_page(page, 4)) == (messages, True)
