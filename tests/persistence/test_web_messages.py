"""Web messages in the database: store, publish, drop, read and delete."""

import asyncio
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import NotFound
from domain.web_messages import (
    UNSETTLED_STATES,
    ExternalReference,
    MessageState,
    OepInstance,
    UnsettledMessage,
    WebMessage,
)
from persistence import audit, web_message_lists
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.web_message_inserts import LARGE_BYTES, PIECE_BYTES
from tests.factories import NOW, PARTY_ID, build_attachment, build_web_message, idempotency_key
from tests.persistence.rows import count_rows, execute, read_content

pytestmark = pytest.mark.anyio

BOTH = (MessageState.SENDING, MessageState.UNKNOWN)
CASE = ExternalReference("flowInstanceId", "1068")
LATER = NOW + timedelta(seconds=1)


def build_case_message(**changes: object) -> WebMessage:
    references = (CASE, ExternalReference("errand", "1"))
    return build_web_message(**{"created": None, "external_references": references} | changes)


def drop_data(message: WebMessage) -> WebMessage:
    """Return the message as it is read: its attachments without data."""
    return replace(message, attachments=tuple(replace(file, data=None) for file in message.attachments))


MESSAGES = {
    "small": build_web_message(),
    "bare": build_web_message(party_id=None),
    "full": build_web_message(
        message="Two\r\nlines, 'quotes' \"too\" & <tags> \\ 😀 %s :name {}\t",
        external_references=(
            ExternalReference("ä/å", "'; drop table web_messages; --"),
            ExternalReference("k" * 128, "1"),
        ),
        sender_user_id="jöe",
        oep_instance=OepInstance.INTERNAL,
        attachments=(
            build_attachment(b"\0\xff", "b 😀.txt"),
            build_attachment(b"x" * 300_000, "a"),
            build_attachment(b"", "empty"),
        ),
        created=NOW.replace(microsecond=1000),
    ),
    "of a municipality": build_web_message(
        municipality_id="2281", oep_instance_as_sent="EXTERNAL", own_open_e="2281/external", is_from_owner=True
    ),
    "long text": build_web_message(message="å" * LARGE_BYTES),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_get_returns_the_stored_message(database: Database, message: WebMessage) -> None:
    await stored.store(database, message)
    assert await stored.get(database, message.id) == drop_data(message)
    for file in message.attachments:
        found = stored.find_attachment(await stored.get(database, message.id), file.id)
        assert found == replace(file, data=None)
        assert await read_content(database, found) == file.data


async def test_get_returns_aware_times(database: Database) -> None:
    message = build_web_message()
    await stored.store(database, message)
    created = (await stored.get(database, message.id)).created
    assert created == NOW
    assert created is not None
    assert created.utcoffset() == timedelta(0)


async def test_store_requires_the_time_of_readability(database: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        await stored.store(database, build_web_message(created=None))
    assert await count_rows(database) == {}


async def test_get_of_an_unknown_message_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match=f"WebMessage with id '{PARTY_ID}' not found"):
        await stored.get(database, PARTY_ID)
    with pytest.raises(NotFound, match="Attachment"):
        await read_content(database, build_attachment())


async def test_get_attachment_of_another_message_is_not_found(database: Database) -> None:
    first, second = (
        build_web_message(attachments=(build_attachment(),)),
        build_web_message(attachments=(build_attachment(),)),
    )
    for message in (first, second):
        await stored.store(database, message)
    with pytest.raises(NotFound, match="Attachment with id"):
        stored.find_attachment(await stored.get(database, first.id), second.attachments[0].id)


async def test_read_attachment_of_a_deleted_message_is_not_found(database: Database) -> None:
    message = build_web_message(attachments=(build_attachment(), build_attachment(b"x" * (LARGE_BYTES + 1))))
    await stored.store(database, message)
    await stored.delete(database, message.id)
    for file in message.attachments:
        with pytest.raises(NotFound, match="Attachment with id"):
            await read_content(database, file)


@pytest.mark.parametrize(
    "size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1]
)
async def test_read_attachment_returns_chunks_that_can_be_encoded_separately(database: Database, size: int) -> None:
    file = build_attachment(os.urandom(size))
    await stored.store(database, build_web_message(attachments=(build_attachment(os.urandom(1)), file)))
    pieces = [piece async for piece in stored.read_attachment(database, replace(file, data=None))]
    assert b"".join(pieces) == file.data
    assert all(len(piece) == PIECE_BYTES for piece in pieces[:-1])
    assert PIECE_BYTES % 3 == 0


async def test_read_attachment_ends_when_its_message_is_deleted_between_two_chunks(database: Database) -> None:
    message = build_web_message(attachments=(build_attachment(bytes(2 * PIECE_BYTES)),))
    await stored.store(database, message)
    pieces = stored.read_attachment(database, message.attachments[0])
    assert len(await anext(pieces)) == PIECE_BYTES
    # No connection and no transaction is held between two chunks.
    await stored.delete(database, message.id)
    with pytest.raises(NotFound):
        await anext(pieces)


async def test_begin_sending_hides_a_message_from_callers(database: Database) -> None:
    message = build_case_message(attachments=(build_attachment(),))
    await stored.begin_sending(database, message, NOW)
    with pytest.raises(NotFound):
        await stored.get(database, message.id)
    with pytest.raises(NotFound):
        await stored.delete(database, message.id)
    assert await web_message_lists.list_by_party(database, PARTY_ID, 10, None) == []
    assert await web_message_lists.list_by_reference(database, CASE, 10, None) == []
    assert await count_rows(database) == {"web_messages": 1, "web_message_attachments": 1}


async def test_mark_published_makes_a_message_readable(database: Database) -> None:
    message = build_case_message(attachments=(build_attachment(),))
    await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, message, 2**31 - 1, LATER)
    expected = drop_data(replace(message, created=LATER))
    assert await stored.get(database, message.id) == expected
    assert await web_message_lists.list_by_party(database, PARTY_ID, 10, None) == [expected]
    for reference in message.external_references:
        assert await web_message_lists.list_by_reference(database, reference, 10, None) == [expected]
    assert await stored.list_unsettled(database, BOTH, 10) == []


@pytest.mark.parametrize("size", [1, LARGE_BYTES + 1])
async def test_begin_sending_stores_attachments_of_any_size(database: Database, size: int) -> None:
    message = build_case_message(attachments=(build_attachment(b"x" * size),))
    await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, message, 1, LATER)
    assert await read_content(database, message.attachments[0]) == b"x" * size


async def test_mark_unknown_keeps_a_message_hidden(database: Database) -> None:
    message = build_case_message()
    await stored.begin_sending(database, message, NOW)
    await stored.mark_unknown(database, message.id)
    with pytest.raises(NotFound):
        await stored.get(database, message.id)
    with pytest.raises(NotFound):
        await stored.delete(database, message.id)
    unsettled = UnsettledMessage(message.id, MessageState.UNKNOWN, OepInstance.EXTERNAL, 1068, NOW)
    assert await stored.list_unsettled(database, BOTH, 10) == [unsettled]


async def test_mark_published_is_idempotent(database: Database) -> None:
    message = build_case_message()
    await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, message, 7, LATER)
    # As after a commit whose response was lost.
    await stored.mark_published(database, message, 7, LATER + timedelta(seconds=1))
    assert await stored.get(database, message.id) == replace(message, created=LATER)
    assert await count_rows(database) == {"web_messages": 1, "web_message_references": 2}
    await stored.delete(database, message.id)
    await stored.mark_published(database, message, 7, LATER)
    assert await count_rows(database) == {"publication_traces": 1}


async def test_count_in_doubt_counts_each_unsettled_state(database: Database) -> None:
    for state in sorted(UNSETTLED_STATES, key=MessageState.SENDING.__eq__):
        await stored.begin_sending(database, build_case_message(), NOW)
        await execute(database, f"update web_messages set state = '{state}' where state = 'sending'")
    assert await stored.count_in_doubt(database, LATER) == dict.fromkeys(UNSETTLED_STATES, 1)


async def test_mark_published_and_mark_unknown_change_only_messages_in_sending(database: Database) -> None:
    published, unknown = build_case_message(), build_case_message()
    for message in (published, unknown):
        await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, published, 7, LATER)
    await stored.mark_unknown(database, unknown.id)
    await stored.mark_unknown(database, published.id)
    await stored.mark_published(database, unknown, 8, LATER)
    assert await stored.get(database, published.id) == replace(published, created=LATER)
    (found,) = await stored.list_unsettled(database, BOTH, 10)
    assert (found.id, found.state) == (unknown.id, MessageState.UNKNOWN)


async def test_mark_published_of_many_skips_published_ones(database: Database) -> None:
    messages = [build_case_message() for _ in range(8)]
    for message in messages:
        await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, messages[3], 3, NOW)
    await asyncio.gather(*(stored.mark_published(database, message, 9, LATER) for message in messages))
    for message in messages:
        created = NOW if message is messages[3] else LATER
        assert await stored.get(database, message.id) == replace(message, created=created)
    assert await count_rows(database) == {"web_messages": 8, "web_message_references": 16}


async def test_drop_refused_leaves_nothing(database: Database) -> None:
    message = build_case_message(attachments=(build_attachment(), build_attachment()))
    await stored.begin_sending(database, message, NOW)
    await stored.drop_refused(database, message.id)
    assert await count_rows(database) == {}


async def test_drop_refused_removes_only_messages_in_sending(database: Database) -> None:
    sending, unknown, published, plain = (
        build_case_message(),
        build_case_message(),
        build_case_message(),
        build_web_message(),
    )
    for message in (sending, unknown, published):
        await stored.begin_sending(database, message, NOW)
    await stored.mark_unknown(database, unknown.id)
    await stored.mark_published(database, published, 1, LATER)
    await stored.store(database, plain)
    for message in (sending, unknown, published, plain):
        await stored.drop_refused(database, message.id)
    assert await count_rows(database) == {"web_messages": 3, "web_message_references": 3}


async def test_delete_removes_references_and_attachments_of_that_message_only(database: Database) -> None:
    first, second = (build_web_message(attachments=(build_attachment(), build_attachment())) for _ in range(2))
    for message in (first, second):
        await stored.store(database, message)
    await stored.delete(database, first.id)
    assert await count_rows(database) == {"web_messages": 1, "web_message_references": 1, "web_message_attachments": 2}
    assert await stored.get(database, second.id) == drop_data(second)
    with pytest.raises(NotFound):
        await stored.delete(database, first.id)


async def test_concurrent_deletes_are_audited_once_each(database_url: str) -> None:
    """Callers of two processes delete the same messages, in batches of different order."""
    databases = [open_database(database_url) for _ in range(2)]
    messages = [build_web_message() for _ in range(40)]
    for message in messages:
        await stored.store(databases[0], message)

    async def delete(database: Database, message_id: str) -> int:
        entry = AuditEntry("", "change", NOW, "deleteWebMessageById", "tests", "deleted", "r-1")
        try:
            await stored.delete(database, message_id, entry)
        except NotFound:
            return 0
        return 1

    ids = [message.id for message in messages]
    calls = [delete(databases[0], id_) for id_ in ids + ids] + [delete(databases[1], id_) for id_ in reversed(ids)]
    assert sum(await asyncio.gather(*calls)) == len(ids)
    page = await audit.list_page(databases[0], after=0, limit=100, chain=WEB_MESSAGES)
    assert sorted(item.entry.detail["messageId"] for _, item in page) == sorted(ids)
    heads, broken = await audit.verify(databases[0])
    assert (broken, heads[WEB_MESSAGES].length) == (None, len(ids))
    for database in databases:
        await database.close()


async def test_delete_whose_entry_cannot_be_written_deletes_nothing(database: Database) -> None:
    message, other = build_web_message(), build_web_message()
    for each in (message, other):
        await stored.store(database, each)
    entry = AuditEntry("", "change", NOW, "deleteWebMessageById", "tests", "deleted", "r-1")
    invalid = replace(entry, outcome=None)  # type: ignore[arg-type]  # Neither a hash nor a column accepts it.
    results = await asyncio.gather(
        stored.delete(database, message.id, invalid), stored.delete(database, other.id, entry), return_exceptions=True
    )
    assert [type(result) for result in results] == [TypeError, type(None)]
    assert await stored.get(database, message.id) == drop_data(message)


async def test_delete_accepts_published_messages(database: Database) -> None:
    message = build_case_message()
    await stored.begin_sending(database, message, NOW)
    await stored.mark_published(database, message, 1, LATER)
    await stored.delete(database, message.id)
    assert await count_rows(database) == {"publication_traces": 1}


async def test_store_that_fails_midway_leaves_nothing(database: Database) -> None:
    stored_attachment = build_attachment()
    await stored.store(database, build_web_message(attachments=(stored_attachment,)))
    before = await count_rows(database)
    for files in ((build_attachment(), stored_attachment), (build_attachment(b"x" * LARGE_BYTES), stored_attachment)):
        with pytest.raises(sa.exc.IntegrityError):
            await stored.store(database, build_web_message(attachments=files))
        assert await count_rows(database) == before
    await stored.store(database, build_web_message())


async def test_begin_sending_that_fails_midway_leaves_nothing(database: Database) -> None:
    stored_attachment = build_attachment()
    await stored.begin_sending(database, build_case_message(attachments=(stored_attachment,)), NOW)
    before = await count_rows(database)
    with pytest.raises(sa.exc.IntegrityError):
        await stored.begin_sending(
            database, build_case_message(attachments=(build_attachment(), stored_attachment)), NOW
        )
    assert await count_rows(database) == before


async def test_mark_published_that_fails_midway_changes_nothing(database: Database) -> None:
    message = build_case_message(external_references=(CASE, CASE))
    await stored.begin_sending(database, message, NOW)
    with pytest.raises(sa.exc.IntegrityError):
        await stored.mark_published(database, message, 1, LATER)
    (unsettled,) = await stored.list_unsettled(database, BOTH, 10)
    assert (unsettled.id, unsettled.state) == (message.id, MessageState.SENDING)
    with pytest.raises(NotFound):
        await stored.get(database, message.id)


async def test_list_unsettled_is_sorted_by_waiting_time(database: Database) -> None:
    messages = [build_case_message() for _ in range(4)]
    times = [NOW + timedelta(seconds=2), NOW, NOW + timedelta(seconds=1), NOW]
    for message, sent in zip(messages, times, strict=True):
        await stored.begin_sending(database, message, sent)
    await stored.mark_unknown(database, messages[0].id)
    await stored.store(database, build_web_message())
    first, second = sorted((messages[1].id, messages[3].id))
    ordered = [first, second, messages[2].id, messages[0].id]
    assert [row.id for row in await stored.list_unsettled(database, BOTH, 10)] == ordered
    assert [row.id for row in await stored.list_unsettled(database, BOTH, 2)] == ordered[:2]
    assert [row.id for row in await stored.list_unsettled(database, (MessageState.UNKNOWN,), 10)] == ordered[3:]
    assert [row.id for row in await stored.list_unsettled(database, (MessageState.SENDING,), 10)] == ordered[:3]
    before = NOW + timedelta(seconds=1)
    assert [row.id for row in await stored.list_unsettled(database, BOTH, 10, before)] == ordered[:2]


async def test_list_unsettled_contains_what_an_operator_needs(database: Database) -> None:
    message = build_case_message(oep_instance=OepInstance.INTERNAL)
    await stored.begin_sending(database, message, NOW)
    (row,) = await stored.list_unsettled(database, BOTH, 1)
    assert row == UnsettledMessage(message.id, MessageState.SENDING, OepInstance.INTERNAL, 1068, NOW)


async def test_ping_returns_when_the_database_responds(database: Database) -> None:
    await database.check_health()


async def test_states_and_readability_agree_in_every_row(database: Database) -> None:
    message = build_case_message()
    await stored.begin_sending(database, message, NOW)
    for statement in (
        "update web_messages set state = 'published'",
        "update web_messages set state = 'stored'",
        "update web_messages set state = 'lost'",
        "update web_messages set created = sent",
    ):
        with pytest.raises(sa.exc.IntegrityError):
            await execute(database, statement)


ODD_TEXTS = (
    *(
        '"',
        "\\",
        "\\u0000",
        "\x01\x1f\x7f",
        "\n\r\t\b\f",
        "å€𝄞",
        "e\u0301",
        "\ufffe\uffff",
        "\u2028",
        "\U0010ffff",
        " ",
    ),
    *("null", "{}", "%s $1 :a ?", "'"),
)


@pytest.mark.parametrize("has_keys", [False, True])
async def test_messages_are_stored_unchanged_alone_and_in_a_batch(database: Database, *, has_keys: bool) -> None:
    """On PostgreSQL a batch is one JSON text, and a single message is a row of parameters."""
    messages = [
        build_web_message(
            message=text,
            external_references=(ExternalReference(text, text), ExternalReference("a", text)),
            sender_user_id=text,
            created=datetime(2026, 3, 1, 1, 2, 3, number, tzinfo=timezone(timedelta(hours=number % 12))),
            oep_instance=list(OepInstance)[number % 2],
            municipality_id=("2281", None)[number % 2],
            oep_instance_as_sent=(None, text)[number % 2],
            is_from_owner=bool(number % 2),
            party_id=None if number % 3 else PARTY_ID,
        )
        for number, text in enumerate([*ODD_TEXTS, *ODD_TEXTS], 1)
    ]

    async def store(message: WebMessage) -> None:
        key = idempotency_key(message) if has_keys else None
        assert await stored.store(database, message, key, message.sender_user_id)

    for message in messages[: len(ODD_TEXTS)]:
        await store(message)
    await asyncio.gather(*map(store, messages[len(ODD_TEXTS) :]))
    for message in messages:
        assert await stored.get(database, message.id) == message
        for reference in message.external_references:
            assert message.id in {
                each.id for each in await web_message_lists.list_by_reference(database, reference, 100, None)
            }
