"""The last uses of API keys and their expiry, as the service records them in the background."""

from datetime import datetime, timedelta

import pytest

from conftest import running_service
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.audit import API_KEYS
from domain.errors import StorageFailed
from handlers.security.authentication import ApiKeys
from handlers.tallies.api_keys import KeyRecords
from persistence import api_keys, audit
from persistence.api_keys import USE_RESOLUTION
from persistence.database import Database
from tests.budkavle.services import KEY, put_key
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.rows import execute


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


class Caller:
    """A caller with a stored key, and the service's record of its uses."""

    def __init__(self, database: Database, **changes: datetime) -> None:
        self.database, self.clock, self.key = database, Clock(), generate_key().encode()
        self.stored = ApiKey(hash_key(self.key), "caller", ("messages",), NOW, **changes)
        self.records = KeyRecords(database, now=self.clock, new_id=lambda: "request")

    async def call(self, after: timedelta = timedelta()) -> None:
        """Look up the key after a time, as the first request of a second does."""
        self.clock.time += after
        await ApiKeys(self.database, self.clock, (), self.records.note_use).find(self.key)

    async def read_last_use(self) -> datetime | None:
        [stored] = await api_keys.list_all(self.database)
        return stored.last_used


@pytest.mark.anyio
async def test_last_use_is_stored_once_an_hour(database: Database) -> None:
    caller = Caller(database)
    await api_keys.create(database, caller.stored)
    await caller.records.run_once()
    assert await caller.read_last_use() is None
    await caller.call()
    assert await caller.read_last_use() is None
    await caller.records.run_once()
    assert await caller.read_last_use() == NOW
    # Another run has nothing to write, so it does not touch the table.
    await caller.call(USE_RESOLUTION - timedelta(seconds=1))
    await execute(database, "update api_keys set last_used = null")
    await caller.records.run_once()
    assert await caller.read_last_use() is None
    await caller.call(timedelta(seconds=1))
    await caller.records.run_once()
    assert await caller.read_last_use() == NOW + USE_RESOLUTION


@pytest.mark.anyio
async def test_rejected_calls_are_no_uses(database: Database) -> None:
    caller = Caller(database, expires=NOW)
    await api_keys.create(database, caller.stored)
    await caller.call()
    await ApiKeys(database, caller.clock, (), caller.records.note_use).find(b"unknown")
    await caller.records.run_once()
    assert await caller.read_last_use() is None


@pytest.mark.anyio
async def test_uses_are_kept_while_the_database_fails(database: Database) -> None:
    caller = Caller(database)
    await api_keys.create(database, caller.stored)
    await caller.call()
    await execute(database, "alter table api_keys rename to away")
    with pytest.raises(StorageFailed):
        await caller.records.run_once()
    # A shutdown logs it.
    await caller.records.close()
    await execute(database, "alter table away rename to api_keys")
    await caller.records.close()
    assert await caller.read_last_use() == NOW


@pytest.mark.anyio
async def test_expiry_of_a_key_is_audited_in_the_background(database: Database) -> None:
    caller = Caller(database, expires=NOW + timedelta(seconds=1))
    await api_keys.create(database, caller.stored)
    for _ in range(3):
        await caller.records.run_once()
        caller.clock.time += timedelta(seconds=1)
    entries = [each.entry for _, each in await audit.list_page(database, after=0, limit=10, chain=API_KEYS)]
    assert [(entry.outcome, entry.time) for entry in entries] == [
        ("created", NOW),
        ("expired", NOW + timedelta(seconds=1)),
    ]


def test_service_records_the_last_use_when_it_shuts_down(sqlite_url: str) -> None:
    put_key(sqlite_url, "caller")
    with running_service(database_url=sqlite_url) as service:
        for _ in range(3):
            service.client.get("/webmessages/x", headers={"apikey": KEY})
    [stored] = run_with_database(sqlite_url, api_keys.list_all)
    assert stored.last_used is not None
