"""API keys in the database."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.api_keys import ApiKey, generate_key, hash_key
from domain.audit import API_KEYS, NO_CALLER
from domain.audit_state import describe_key
from domain.errors import Conflict, NotFound
from persistence import api_keys, audit, audit_state
from persistence.api_keys import USE_RESOLUTION
from persistence.database import Database
from tests.factories import NOW

pytestmark = pytest.mark.anyio

LATER = NOW + timedelta(seconds=1)
MOMENT = timedelta(milliseconds=1)


def build_api_key(name: str = "caller", *scopes: str) -> ApiKey:
    return ApiKey(hash_key(generate_key().encode()), name, scopes or ("messages",), NOW)


async def test_find_returns_the_created_key(database: Database) -> None:
    keys = [
        build_api_key("one", "messages"),
        build_api_key("two", "messages.read", "publish:8:-1"),
        build_api_key("å 'quoted'", "publish"),
        replace(build_api_key("three"), expires=LATER),
    ]
    for key in keys:
        await api_keys.create(database, key)
    assert [await api_keys.find(database, key.key_hash) for key in keys] == keys


async def test_find_of_an_unknown_hash_is_none(database: Database) -> None:
    assert await api_keys.find(database, hash_key(b"nobody")) is None
    await api_keys.create(database, build_api_key())
    assert await api_keys.find(database, "%") is None


async def test_create_refuses_a_name_in_use(database: Database) -> None:
    first = build_api_key()
    await api_keys.create(database, first)
    with pytest.raises(Conflict, match="a key named 'caller' is in use; revoke it first"):
        await api_keys.create(database, build_api_key())
    assert await api_keys.list_all(database) == [first]


async def test_one_of_two_concurrent_creates_succeeds(database: Database) -> None:
    results = await asyncio.gather(
        *(api_keys.create(database, build_api_key()) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 4 + ["NoneType"]
    assert len(await api_keys.list_all(database)) == 1


async def test_revoke_ends_a_key_and_releases_its_name(database: Database) -> None:
    first, second = build_api_key(), replace(build_api_key(), created=LATER)
    await api_keys.create(database, first)
    await api_keys.revoke(database, "caller", LATER)
    assert await api_keys.find(database, first.key_hash) is None
    await api_keys.create(database, second)
    assert await api_keys.find(database, second.key_hash) == second
    await api_keys.revoke(database, "caller", LATER)
    assert await api_keys.list_all(database) == [replace(first, revoked=LATER), replace(second, revoked=LATER)]


async def test_revoke_refuses_an_unknown_name(database: Database) -> None:
    await api_keys.create(database, build_api_key("other"))
    with pytest.raises(NotFound, match="no key named 'caller' is in use"):
        await api_keys.revoke(database, "caller", NOW)
    await api_keys.revoke(database, "other", NOW)
    with pytest.raises(NotFound):
        await api_keys.revoke(database, "other", LATER)
    assert [key.revoked for key in await api_keys.list_all(database)] == [NOW]


async def test_revoke_does_not_change_other_keys(database: Database) -> None:
    keys = [build_api_key("a"), build_api_key("b")]
    for key in keys:
        await api_keys.create(database, key)
    await api_keys.revoke(database, "a", LATER)
    assert await api_keys.find(database, keys[1].key_hash) == keys[1]


async def test_list_all_is_sorted_by_name_then_time(database: Database) -> None:
    assert await api_keys.list_all(database) == []
    old = replace(build_api_key("b"), created=NOW - timedelta(days=1))
    await api_keys.create(database, old)
    await api_keys.revoke(database, "b", NOW)
    for name in ("c", "b", "a"):
        await api_keys.create(database, build_api_key(name))
    listed = await api_keys.list_all(database)
    assert [(key.name, key.revoked) for key in listed] == [("a", None), ("b", NOW), ("b", None), ("c", None)]


async def test_chain_of_keys_is_created_with_its_first_entry(database: Database) -> None:
    with pytest.raises(NotFound):
        await api_keys.revoke(database, "caller", NOW)
    await api_keys.record_first(database, NOW, "-")
    assert await audit.verify(database) == ({}, None)


async def test_record_uses_stores_at_most_one_use_in_an_hour(database: Database) -> None:
    keys = [build_api_key("a"), build_api_key("b"), build_api_key("c")]
    for key in keys:
        await api_keys.create(database, key)
    first, second, _ = (key.key_hash for key in keys)

    async def list_uses() -> list[datetime | None]:
        return [key.last_used for key in await api_keys.list_all(database)]

    assert await list_uses() == [None, None, None]
    await api_keys.record_uses(database, {first: LATER, second: NOW, hash_key(b"unknown"): NOW})
    assert await list_uses() == [LATER, NOW, None]
    await api_keys.record_uses(database, {first: LATER + USE_RESOLUTION, second: NOW + USE_RESOLUTION + MOMENT})
    assert await list_uses() == [LATER, NOW + USE_RESOLUTION + MOMENT, None]
    await api_keys.record_uses(database, {second: NOW})
    assert await list_uses() == [LATER, NOW + USE_RESOLUTION + MOMENT, None]


async def test_expiry_is_recorded_once_although_processes_do_so_at_once(database: Database) -> None:
    expiring = replace(build_api_key("expiring"), expires=LATER)
    revoked = replace(build_api_key("revoked"), expires=LATER)
    for key in (expiring, revoked, replace(build_api_key("later"), expires=LATER + MOMENT), build_api_key("endless")):
        await api_keys.create(database, key)
    await api_keys.revoke(database, "revoked", NOW)
    assert await api_keys.record_expired(database, LATER - MOMENT, "early") == 0
    numbers = await asyncio.gather(*(api_keys.record_expired(database, LATER, "expiry") for _ in range(5)))
    assert sorted(numbers) == [0, 0, 0, 0, 1]
    entries = [each.entry for _, each in await audit.list_page(database, after=0, limit=100, chain=API_KEYS)]
    (entry,) = (each for each in entries if each.outcome == "expired")
    assert (entry.caller, entry.time, entry.request_id) == (NO_CALLER, LATER, "expiry")
    assert entry.detail == {"expired": [describe_key(expiring)]}
    # The expired key keeps its name until it is revoked.
    await api_keys.revoke(database, "expiring", LATER)
    assert await audit_state.list_differences(database, LATER) == []
