"""Imported messages are stored once, also if two runs store them at the same time."""

import asyncio

import pytest

from domain.message_imports import ImportedMessage
from persistence import message_imports as imports
from persistence import web_messages as stored
from persistence.database import Database
from tests.factories import build_attachment, build_web_message
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_store_skips_messages_that_another_run_has_stored(database: Database) -> None:
    messages = [ImportedMessage(build_web_message(attachments=(build_attachment(),)), None) for _ in range(3)]
    ids = {each.message.id for each in messages}
    results = await asyncio.gather(*(imports.store(database, "wms", messages[:2]) for _ in range(3)))
    assert sorted(map(len, results)) == [0, 0, 2]
    assert await imports.store(database, "other", messages) == {messages[2].message.id}
    rows = {"imported_messages": 3, "web_messages": 3, "web_message_references": 3, "web_message_attachments": 3}
    assert await count_rows(database) == rows
    known = await imports.find_known(database, [*ids, imports.FIRST_ID])
    assert (known.imported, known.others) == (ids, frozenset())


async def test_list_present_has_the_messages_of_a_source_that_are_still_here(database: Database) -> None:
    messages = [ImportedMessage(build_web_message(), None) for _ in range(4)]
    await imports.store(database, "other", messages[3:])
    await imports.store(database, "wms", messages[:3])
    await stored.delete(database, messages[1].message.id)
    present = sorted(messages[number].message.id for number in (0, 2))
    assert await imports.list_present(database, "wms", imports.FIRST_ID, 10) == present
    assert await imports.list_present(database, "wms", imports.FIRST_ID, 1) == present[:1]
    assert await imports.list_present(database, "wms", present[0], 10) == present[1:]
    known = await imports.find_known(database, [messages[1].message.id])
    assert known.imported == {messages[1].message.id}


async def test_messages_that_another_run_stores_meanwhile_are_no_others(database: Database) -> None:
    for _ in range(50):
        messages = [ImportedMessage(build_web_message(), None)]
        ids = [each.message.id for each in messages]
        looks = (imports.find_known(database, ids) for _ in range(5))
        _, *found = await asyncio.gather(imports.store(database, "wms", messages), *looks)
        assert {known.others for known in found} == {frozenset()}
