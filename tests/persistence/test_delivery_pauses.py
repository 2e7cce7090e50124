"""Pauses that operators order: what a look returns meanwhile and afterwards, and what they survive."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.deliveries import Urgency
from domain.delivery_pauses import DeliveryPause
from domain.errors import NotFound
from domain.subscriptions import Identity
from persistence import audit, delivery_pauses, tables
from persistence import deliveries as queued
from persistence.database import Database, to_json
from persistence.delivery_pauses import Command
from persistence.queue import due_deliveries
from persistence.queue.depth import list_depths
from persistence.queue.due_deliveries import FEW, MOST_URGENT, Capacity, LookMemory, find_next_due
from persistence.queue.sql import to_hex
from persistence.work import queue_read, short_write
from tests.factories import NOW
from tests.handlers.messages import create_id
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, queue_deliveries, sync
from tests.persistence.queues import SECOND, build_action, claim, publish

pytestmark = pytest.mark.anyio

OTHER = SYSTEM_IDS[1]
FIRST, SECOND_IDENTITY = Identity(1, 101, 202), Identity(1, 102, 202)
HOUR = timedelta(hours=1)
ROOM = Capacity(10, 10)


def build_command(system_id: str = SYSTEM, identity: Identity | None = None, now: datetime = NOW) -> Command:
    return Command(system_id, identity, "operator", now, "request", create_id())


async def pause(
    database: Database, identity: Identity | None = None, until: datetime | None = None, **changes: Any
) -> DeliveryPause:
    return await delivery_pauses.pause(database, build_command(identity=identity, **changes), until)


async def look(database: Database, now: datetime = NOW, memory: LookMemory | None = None) -> list[tuple[str, int]]:
    """Return system and subscription of the due deliveries that a look returns."""
    seen = await due_deliveries.look(database, now, ROOM, memory or LookMemory())
    return sorted((each.target.system_id, each.subscription_id) for each in seen)


@pytest.fixture
async def filled(database: Database) -> Database:
    """Two systems with two subscriptions each, and a due delivery for each subscription (numbers 1 to 4)."""
    await prepare(database)
    for system_id in (SYSTEM, OTHER):
        await sync(database, [build_entry(0), build_entry(1, org_code=102)], system_id)
    for org_code in (101, 102):
        await publish(database, org_code=org_code)
    return database


ALL = [(SYSTEM, 1), (SYSTEM, 2), (OTHER, 3), (OTHER, 4)]


async def test_look_returns_nothing_of_a_paused_system(filled: Database) -> None:
    memory = LookMemory()
    assert await look(filled, memory=memory) == ALL
    await pause(filled)
    for _ in range(3):
        assert await look(filled, memory=memory) == ALL[2:]
    assert [item.receiver.system_id for item in await claim(filled)] == [OTHER, OTHER]


async def test_look_returns_nothing_of_a_paused_subscription(filled: Database) -> None:
    memory = LookMemory()
    await pause(filled, FIRST)
    for _ in range(3):
        assert await look(filled, memory=memory) == ALL[1:]


async def test_paused_deliveries_hide_no_others(filled: Database) -> None:
    """The first subscription has more due deliveries, before those of the other one, than a look returns."""
    await queue_deliveries(filled, SYSTEM, 3 * FEW)
    await pause(filled, FIRST)
    memory = LookMemory()
    for _ in range(3):
        found = await look(filled, NOW, memory)
        assert set(found) == set(ALL[1:])
        assert found.count(ALL[1]) >= FEW


async def test_first_look_after_the_end_of_a_pause_returns_what_was_due_long_before(filled: Database) -> None:
    """Looks have a lower bound of due times, which moves on during a pause."""
    memory = LookMemory()
    await pause(filled)
    await pause(filled, FIRST, NOW + 9 * SECOND, system_id=OTHER)
    # Claim what is not paused, so that only paused deliveries are due.
    assert len(await claim(filled)) == 1
    assert await look(filled, NOW + 8 * SECOND, memory) == []
    assert memory.since > NOW
    await delivery_pauses.resume(filled, build_command(now=NOW + 8 * SECOND))
    assert await look(filled, NOW + 8 * SECOND, memory) == ALL[:2]
    assert await look(filled, NOW + 9 * SECOND, memory) == ALL[:3]


async def test_saturated_worker_sees_no_urgent_delivery_that_is_paused(filled: Database) -> None:
    ids = [item.id for item in await queued.list_page(filled, None, None, 0, 10)]
    await queued.replay(filled, ids, build_action(SYSTEM))
    memory, full = LookMemory(), Capacity(0, 0)
    await pause(filled, FIRST)
    await pause(filled, system_id=OTHER)
    for _ in range(2):
        seen = await due_deliveries.look(filled, NOW, full, memory)
        assert [each.subscription_id for each in seen] == [2]


@pytest.mark.parametrize("identity", [None, FIRST, SECOND_IDENTITY])
async def test_many_paused_urgent_deliveries_hide_no_others(filled: Database, identity: Identity | None) -> None:
    await pause(filled, identity)
    memory, full = LookMemory(), Capacity(0, 0)
    await queue_deliveries(filled, SYSTEM, MOST_URGENT, urgency=Urgency.TEST)
    of_other = [item.id for item in await queued.list_page(filled, OTHER, None, 0, 10)]
    await queued.replay(filled, of_other, build_action(OTHER))
    await due_deliveries.look(filled, NOW, full, memory)
    found = {each.target.system_id for each in await due_deliveries.look(filled, NOW, full, memory)}
    assert found == ({OTHER} if identity is None else {SYSTEM})


async def test_look_by_subscription_reads_no_paused_deliveries(filled: Database) -> None:
    """Their number costs a look nothing."""
    await pause(filled, FIRST)
    memory = LookMemory()
    await look(filled, memory=memory)

    @queue_read
    def read_rows(connection: Any) -> set[int]:
        statement = due_deliveries._LOOK_AT_SUBSCRIPTIONS[connection.dialect.name]
        parameters = {"now": NOW, "since": NOW - HOUR, "each": 10, "targets": "[]"}
        parameters |= {"systems": to_json([to_hex(SYSTEM)])} | due_deliveries._build_pause_parameters(memory.pauses)
        return {row[2] for row in statement.execute(connection, **parameters) if row[0] is not None}

    assert await filled.read(read_rows) == {2}


async def test_find_next_due_ignores_paused_deliveries_until_the_pause_ends(filled: Database) -> None:
    assert await find_next_due(filled, NOW) == NOW
    await pause(filled, until=NOW + HOUR)
    assert await find_next_due(filled, NOW) == NOW
    await pause(filled, FIRST, system_id=OTHER)
    assert await find_next_due(filled, NOW) == NOW
    await pause(filled, SECOND_IDENTITY, system_id=OTHER)
    assert await find_next_due(filled, NOW) == NOW + HOUR
    assert await find_next_due(filled, NOW + HOUR) == NOW


async def test_pauses_survive_syncs_and_removed_systems(filled: Database) -> None:
    ordered = await pause(filled, FIRST)
    await sync(filled, [])
    assert await delivery_pauses.list_pauses(filled, NOW) == [ordered]
    assert await look(filled) == ALL[2:]
    await sync(filled, [build_entry(1, org_code=102)])
    await publish(filled, org_code=102)
    assert (SYSTEM, 5) in await look(filled)
    await sync(filled, [build_entry(0), build_entry(1, org_code=102)])
    await publish(filled)
    assert {subscription for system, subscription in await look(filled) if system == SYSTEM} == {5}

    @short_write
    def remove_system(connection: Any) -> None:
        connection.execute(tables.systems.delete().where(tables.systems.c.id == SYSTEM))

    await filled.write(remove_system)
    assert await delivery_pauses.list_pauses(filled, NOW) == [ordered]


async def test_pause_again_changes_the_end_and_keeps_the_start(filled: Database) -> None:
    await pause(filled, until=NOW + HOUR)
    again = await pause(filled, now=NOW + SECOND)
    assert again == DeliveryPause(SYSTEM, None, NOW, None, "operator")
    assert await delivery_pauses.list_pauses(filled, NOW) == [again]
    await delivery_pauses.resume(filled, build_command())
    assert await delivery_pauses.list_pauses(filled, NOW) == []


async def test_pause_begins_anew_after_the_former_one_has_ended(filled: Database) -> None:
    await pause(filled, until=NOW + SECOND)
    assert (await pause(filled, now=NOW + HOUR)).since == NOW + HOUR


async def test_resume_returns_the_other_pauses_of_the_system(filled: Database) -> None:
    of_one = await pause(filled, FIRST)
    await pause(filled)
    await pause(filled, system_id=OTHER)
    assert await delivery_pauses.resume(filled, build_command()) == [of_one]


@pytest.mark.parametrize(
    "command",
    [build_command("0b1f4c1e-5798-41e9-ae24-57fa13b361e1"), build_command(identity=Identity(1, 103, 202))],
)
async def test_pause_refuses_what_does_not_exist(filled: Database, command: Command) -> None:
    with pytest.raises(NotFound):
        await delivery_pauses.pause(filled, command, None)
    with pytest.raises(NotFound):
        await delivery_pauses.resume(filled, command)
    assert (await audit.verify(filled))[1] is None


async def test_resume_refuses_a_pause_that_has_ended(filled: Database) -> None:
    await pause(filled, until=NOW + SECOND)
    with pytest.raises(NotFound):
        await delivery_pauses.resume(filled, build_command(now=NOW + SECOND))


async def test_remove_ended_returns_each_pause_once(filled: Database) -> None:
    ended = await pause(filled, until=NOW + SECOND)
    lasting = await pause(filled, FIRST)
    assert await delivery_pauses.remove_ended(filled, NOW + SECOND) == [ended]
    assert await delivery_pauses.remove_ended(filled, NOW + HOUR) == []
    assert await delivery_pauses.list_pauses(filled, NOW) == [lasting]


async def test_commands_are_in_the_chain_of_the_system(filled: Database) -> None:
    await pause(filled, FIRST, NOW + HOUR)
    await delivery_pauses.resume(filled, build_command(identity=FIRST))
    entries = [each.entry for _, each in await audit.list_page(filled, after=0, limit=100, chain=SYSTEM)]
    assert [(each.operation, each.caller, each.detail) for each in entries[-2:]] == [
        (
            "deliveries pause",
            "operator",
            {"subscription": [1, 101, 202], "until": (NOW + HOUR).isoformat(timespec="milliseconds")},
        ),
        ("deliveries resume", "operator", {"subscription": [1, 101, 202]}),
    ]
    assert (await audit.verify(filled))[1] is None


async def test_depths_count_paused_deliveries_apart(filled: Database) -> None:
    await pause(filled, FIRST)
    await pause(filled, until=NOW + 2 * HOUR, system_id=OTHER)
    of_one, of_other = (await list_depths(filled, NOW + HOUR))[:2]
    assert (of_one.oldest, of_one.overdue, of_one.paused, of_one.pauses) == (NOW, 1, 1, 1)
    assert (of_other.oldest, of_other.overdue, of_other.paused, of_other.pauses) == (None, 0, 2, 1)
    of_other = (await list_depths(filled, NOW + 2 * HOUR))[1]
    assert (of_other.oldest, of_other.overdue, of_other.paused, of_other.pauses) == (NOW, 2, 0, 0)
