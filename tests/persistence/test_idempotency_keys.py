"""Idempotency keys in the database: one message per key, kept until it expires or is freed."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import NotFound
from domain.idempotency_keys import IdempotencyKey, KeyedMessage, build_first_id
from domain.web_messages import ExternalReference, WebMessage
from persistence import idempotency_keys, publication_decisions, web_message_lists
from persistence import web_messages as stored
from persistence.database import Database
from persistence.work import short_write
from tests.factories import NOW, build_attachment, build_web_message, idempotency_key
from tests.persistence.publication_steps import ENTRY
from tests.persistence.rows import count_rows, read_content
from tests.persistence.test_web_messages import MESSAGES, drop_data

pytestmark = pytest.mark.anyio

CASE = ExternalReference("flowInstanceId", "1068")
AT_NOW, LATER = build_first_id(NOW), build_first_id(NOW + timedelta(milliseconds=1))
"""The lowest ids of messages of now, and of later ones."""


def case_message(**changes: Any) -> WebMessage:
    return build_web_message(**{"external_references": (CASE,), "created": None} | changes)


def id_of_now() -> str:
    """Return an id as the service assigns it: it begins with the time."""
    return AT_NOW[:15] + str(uuid.uuid4())[15:]


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_store_with_a_key_stores_the_same_message_as_without(database: Database, message: WebMessage) -> None:
    assert await stored.store(database, message, idempotency_key(message))
    assert await stored.get(database, message.id) == drop_data(message)
    for reference in message.external_references:
        assert await web_message_lists.list_by_reference(database, reference, 2, None) == [drop_data(message)]
    for file in message.attachments:
        assert await read_content(database, file) == file.data


@pytest.mark.parametrize("files", [(), (build_attachment(),)], ids=["without files", "with files"])
async def test_store_with_a_used_key_stores_nothing(database: Database, files: tuple[object, ...]) -> None:
    message, key = build_web_message(attachments=files), idempotency_key(build_web_message(), "1")
    assert await stored.store(database, message, key)
    before = await count_rows(database)
    other = build_web_message(attachments=(build_attachment(b"other"),) if files else (), message="Other")
    assert not await stored.store(database, other, replace(key, message=other))
    assert await count_rows(database) == before
    expected = KeyedMessage(message.id, key.fingerprint, is_settled=True)
    assert await idempotency_keys.find(database, key) == expected


async def test_begin_sending_with_a_used_key_stores_nothing(database: Database) -> None:
    message, key = case_message(), idempotency_key(case_message(), "1")
    assert await stored.begin_sending(database, message, NOW, key)
    assert not await stored.begin_sending(database, case_message(), NOW, key)
    assert await count_rows(database) == {"web_messages": 1, "idempotency_keys": 1}
    expected = KeyedMessage(message.id, key.fingerprint, is_settled=False)
    assert await idempotency_keys.find(database, key) == expected


async def test_concurrent_messages_with_the_same_keys_are_stored_once(database: Database) -> None:
    keys = [idempotency_key(build_web_message(), str(number)) for number in range(5)]
    # Different orders of the keys, as different processes have them, must not deadlock.
    wanted = [(key, build_web_message()) for _ in range(10) for key in keys]
    wanted += [(key, build_web_message(attachments=(build_attachment(),))) for key in reversed(keys)]
    results = await asyncio.gather(*(stored.store(database, message, key) for key, message in wanted))
    assert sum(results) == 5
    found = await count_rows(database)
    assert (found["web_messages"], found["idempotency_keys"]) == (5, 5)
    for (key, message), is_first in zip(wanted, results, strict=True):
        keyed = await idempotency_keys.find(database, key)
        assert keyed is not None
        assert (keyed.message_id == message.id) == is_first


@pytest.mark.parametrize("change", [{"caller": "b"}, {"operation": "b"}, {"key": "b"}])
async def test_keys_of_another_caller_operation_or_text_are_independent(
    database: Database, change: dict[str, str]
) -> None:
    key = IdempotencyKey("a", "a", "a", build_web_message())
    assert await stored.store(database, build_web_message(), key)
    assert await idempotency_keys.find(database, replace(key, **change)) is None
    assert await stored.store(database, build_web_message(), replace(key, **change))


async def test_find_returns_none_for_a_free_key(database: Database) -> None:
    assert await idempotency_keys.find(database, idempotency_key(build_web_message())) is None


async def test_key_of_a_deleted_message_is_kept(database: Database) -> None:
    message = build_web_message()
    key = idempotency_key(message)
    await stored.store(database, message, key)
    await stored.delete(database, message.id)
    keyed = await idempotency_keys.find(database, key)
    assert keyed == KeyedMessage(message.id, key.fingerprint, is_settled=True)
    assert not await stored.store(database, build_web_message(), key)


async def test_free_keys_deletes_only_the_keys_of_these_messages(database: Database) -> None:
    messages = [build_web_message() for _ in range(3)]
    keys = [idempotency_key(message) for message in messages]
    for message, key in zip(messages, keys, strict=True):
        await stored.store(database, message, key)
    await database.write(short_write(idempotency_keys.free_keys), [messages[0].id, messages[2].id])
    await database.write(short_write(idempotency_keys.free_keys), [])
    assert [await idempotency_keys.find(database, key) is None for key in keys] == [True, False, True]


async def test_drop_refused_frees_the_key(database: Database) -> None:
    message = case_message()
    key = idempotency_key(message)
    await stored.begin_sending(database, message, NOW, key)
    await stored.drop_refused(database, message.id)
    assert await count_rows(database) == {}
    assert await stored.begin_sending(database, case_message(), NOW, key)


async def test_drop_refused_leaves_the_key_of_a_published_message(database: Database) -> None:
    message = case_message()
    key = idempotency_key(message)
    await stored.begin_sending(database, message, NOW, key)
    await stored.mark_published(database, message, 1, NOW)
    await stored.drop_refused(database, message.id)
    await stored.delete(database, message.id)
    assert await idempotency_keys.find(database, key) is not None


@pytest.mark.parametrize(
    ("state", "is_freed"),
    [
        ("deleted", True),
        ("stored", True),
        ("published", True),
        ("sending", False),
        ("unknown", False),
        ("deleted in doubt", False),
    ],
)
async def test_expired_keys_are_deleted_unless_their_message_is_in_doubt(
    database: Database, state: str, *, is_freed: bool
) -> None:
    message = (build_web_message if state in {"stored", "deleted"} else case_message)(id=id_of_now())
    key = idempotency_key(message)
    if message.created is None:
        await stored.begin_sending(database, message, NOW, key)
    else:
        await stored.store(database, message, key)
    if state == "published":
        await stored.mark_published(database, message, 1, NOW)
    if state in {"unknown", "deleted in doubt"}:
        await stored.mark_unknown(database, message.id)
    if state == "deleted in doubt":
        assert await publication_decisions.delete_in_doubt(database, message.id, NOW, ENTRY)
    if state == "deleted":
        await stored.delete(database, message.id)
        with pytest.raises(NotFound):
            await stored.get(database, message.id)
    for free in (
        lambda first_id: idempotency_keys.free_expired(database, key, first_id),
        lambda first_id: idempotency_keys.prune_expired(database, first_id),
    ):
        await free(AT_NOW)
        assert await idempotency_keys.find(database, key) is not None
    assert await idempotency_keys.prune_expired(database, LATER) == int(is_freed)
    assert (await idempotency_keys.find(database, key) is None) == is_freed


async def test_free_expired_deletes_no_other_key(database: Database) -> None:
    keys = [idempotency_key(build_web_message(), "1", caller) for caller in "ab"]
    for key in keys:
        await stored.store(database, build_web_message(id=id_of_now()), key)
    await idempotency_keys.free_expired(database, keys[0], LATER)
    assert [await idempotency_keys.find(database, key) is None for key in keys] == [True, False]


async def test_prune_expired_deletes_a_limited_number_of_keys(database: Database) -> None:
    number = idempotency_keys.EXPIRED_AT_ONCE + 1
    messages = [build_web_message(id=id_of_now()) for _ in range(number)]
    await asyncio.gather(*(stored.store(database, message, idempotency_key(message)) for message in messages))
    assert [await idempotency_keys.prune_expired(database, LATER) for _ in range(3)] == [number - 1, 1, 0]
