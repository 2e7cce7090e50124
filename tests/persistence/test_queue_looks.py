"""Looks at the queue: which deliveries one look returns, and where the next one continues."""

from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from domain.deliveries import Target
from persistence import tables
from persistence.database import Database
from persistence.queue import due_deliveries
from persistence.queue.due_deliveries import BEYOND, CONFIRMED_EVERY, FEW, FEWEST_IN_ALL, Capacity, LookMemory
from persistence.work import short_write
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, build_entry, prepare, sync
from tests.persistence.queues import SECOND, publish

pytestmark = pytest.mark.anyio

ROOM = Capacity(10, 10)
MANY = 2 * FEWEST_IN_ALL // FEW
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("fills_slots", [False, True])
async def test_looks_see_many_systems_in_turn(database: Database, *, fills_slots: bool) -> None:
    await prepare(database)
    await sync(database, [build_entry()])

    @short_write
    def add_systems(connection: sa.Connection) -> None:
        system = dict(connection.execute(tables.systems.select().where(tables.systems.c.id == SYSTEM)).mappings().one())
        of_system = tables.subscriptions.select().where(tables.subscriptions.c.system_id == SYSTEM)
        subscription = dict(connection.execute(of_system).mappings().one())
        del subscription["id"]
        for number in range(MANY):
            id_ = str(UUID(int=2**128 - MANY + number))
            connection.execute(tables.systems.insert(), system | {"id": id_, "name": id_})
            connection.execute(tables.subscriptions.insert(), subscription | {"system_id": id_})

    await database.write(add_systems)
    for _ in range(FEW - 1):
        await publish(database)
    memory, looks = LookMemory(systems=MANY, fills_slots=fills_slots), []
    while not looks or memory.is_partial:
        looks.append(await due_deliveries.look(database, NOW, ROOM, memory))
    assert max(map(len, looks)) <= (2 * ROOM.free + BEYOND if fills_slots else FEWEST_IN_ALL)
    seen = [each for found in looks for each in found]
    assert len(seen) == len({each.number for each in seen})
    # The last system of a look may have more due deliveries, which the next round sees.
    assert len({each.target.system_id for each in seen}) == MANY + 1


async def test_look_finds_what_becomes_due_before_its_bound_later(database: Database) -> None:
    """A transaction may commit long after the due time of its delivery."""
    await prepare(database)
    await sync(database, [build_entry()])
    memory = LookMemory()
    assert await due_deliveries.look(database, NOW, ROOM, memory) == []
    await publish(database, created=NOW - MINUTE)
    assert len(await due_deliveries.look(database, NOW + CONFIRMED_EVERY, ROOM, memory)) == 1


async def test_look_finds_waiting_deliveries_of_a_target_that_was_full(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    for _ in range(FEW + 1):
        await publish(database, created=NOW - MINUTE)
    memory, full = LookMemory(), Capacity(10, 10, full_targets=frozenset({Target(SYSTEM, "/a")}))
    memory.crowded.add(SYSTEM)
    assert await due_deliveries.look(database, NOW, full, memory) == []
    assert len(await due_deliveries.look(database, NOW + SECOND, ROOM, memory)) >= FEW


async def test_look_finds_waiting_deliveries_of_a_system_that_was_full(database: Database) -> None:
    await prepare(database)
    await sync(database, [build_entry()])
    await publish(database, created=NOW - MINUTE)
    memory = LookMemory()
    assert await due_deliveries.look(database, NOW, Capacity(10, 10, frozenset({SYSTEM})), memory) == []
    assert len(await due_deliveries.look(database, NOW + SECOND, ROOM, memory)) == 1
