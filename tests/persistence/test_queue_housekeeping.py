"""Housekeeping runs every 30 seconds, so it must not read all events or deliveries of a long queue."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from persistence import prepared
from persistence.database import Database
from persistence.opening import open_database
from persistence.queue import claims, housekeeping, receipts
from persistence.queue.housekeeping import FIRST_EVENT
from persistence.sqlite.database import SqliteDatabase
from persistence.work import large_queue_write
from tests.factories import NOW
from tests.persistence.catalogues import build_entry, prepare, sync
from tests.persistence.queues import build_lease, build_settled, claim, publish
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

NUMBER = 20_000
STATEMENTS: dict[str, Mapping[str, Any]] = {
    "release stuck": housekeeping._RELEASE_STUCK,
    "last considered event": dict.fromkeys(("sqlite", "postgresql"), housekeeping._LAST_CONSIDERED),
    "prune events": dict.fromkeys(("sqlite", "postgresql"), housekeeping._PRUNE_EVENTS),
    "prune receipts": receipts._PRUNE,
}
READ = {
    # Only blocked deliveries as a whole, and the first one of each of their keys.
    ("release stuck", "sqlite"): ["SCAN deliveries USING INDEX ix_deliveries_blocked", "SCAN d"],
    ("release stuck", "postgresql"): ["all of ix_deliveries_blocked", "ix_deliveries_order", "pk_deliveries"],
    ("last considered event", "sqlite"): ["SCAN page"],
    ("last considered event", "postgresql"): ["ix_events_created"],
    ("prune events", "sqlite"): ["SCAN page"],
    ("prune events", "postgresql"): ["ix_deliveries_event_id", "ix_events_created", "pk_events"],
    ("prune receipts", "sqlite"): [],
    ("prune receipts", "postgresql"): ["ix_receipts_last_attempt_id"],
}
VALUES = {"now": NOW, "before": NOW + timedelta(days=1), "limit": 1000}
VALUES |= {"after_created": FIRST_EVENT.created, "after_id": FIRST_EVENT.id}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with one subscription."""
    opened = open_database(database_url)
    await prepare(opened)
    await sync(opened, [build_entry()])
    yield opened
    await opened.close()


def _fill(connection: sa.Connection) -> None:
    """Copy the one event and its delivery, all of them waiting for their next attempt."""
    if connection.dialect.name == "postgresql":
        numbers = f"generate_series(1, {NUMBER}) as n(value)"
        id_, created = "gen_random_uuid()", "created + value * interval '1 second'"
    else:
        counted = f"values (1) union all select value + 1 from n limit {NUMBER}"
        numbers = f"(with recursive n(value) as ({counted}) select value from n)"
        id_, created = "lower(hex(randomblob(16)))", "strftime('%Y-%m-%d %H:%M:%f000', created, value || ' seconds')"
    others = "entity_type, content, subscriptions, publisher, request_id"
    connection.exec_driver_sql(
        f"insert into events (id, created, {others}) select {id_}, {created}, {others} from events, {numbers}"
    )
    same = "subscription_id, system_id, state, created, due, attempts"
    connection.exec_driver_sql(
        f"insert into deliveries (id, event_id, key, {same}) "
        f"select {id_}, e.id, cast(e.id as text), {', '.join(f'd.{name}' for name in same.split(', '))} "
        "from events e, (select * from deliveries) as d"
    )
    connection.exec_driver_sql("analyze")


def _explain(connection: sa.Connection, name: str) -> list[str]:
    """Return what SQLite reads from end to end, and the indexes that PostgreSQL reads (`None`: a table)."""
    dialect = connection.dialect.name
    statement = STATEMENTS[name][dialect]
    word = "explain query plan" if dialect == "sqlite" else "explain (format json)"
    compiled = prepared._compile(statement, connection.dialect)
    rows = connection.exec_driver_sql(f"{word} {compiled.text}", tuple(compiled.bind(VALUES))).all()
    if dialect == "sqlite":
        return [row.detail for row in rows if row.detail.startswith("SCAN")]
    plan = rows[0][0]
    [whole] = json.loads(plan) if isinstance(plan, str) else plan
    # A "Tid Scan" reads given rows.
    scans = [node for node in _iterate_nodes(whole["Plan"]) if "Relation Name" in node and "Scan" in node["Node Type"]]
    scans = [node for node in scans if node["Node Type"] != "Tid Scan"]
    read = {f"{'' if 'Index Cond' in node else 'all of '}{node.get('Index Name')}" for node in scans}
    return sorted(read)


def _iterate_nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _iterate_nodes(child)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_housekeeping_scans_no_table(database: Database, name: str) -> None:
    """Neither with a plan for a long queue, nor with one that was cached while there was none."""
    expected = READ[name, "sqlite" if isinstance(database, SqliteDatabase) else "postgresql"]
    assert await database.write(large_queue_write(_explain), name) == expected
    await publish(database)
    await database.write(large_queue_write(_fill))
    assert await database.write(large_queue_write(_explain), name) == expected


async def test_prune_events_deletes_old_events_without_deliveries(database: Database) -> None:
    for days in (3, 2, 0):
        await publish(database, created=NOW - timedelta(days=days))
    (first, *_) = await claim(database)
    await claims.settle(database, build_lease(), [build_settled(first)])
    number, position = await housekeeping.prune_events(database, NOW - timedelta(days=1), FIRST_EVENT, 10)
    assert number == 1
    assert position is not None
    assert position.created == NOW - timedelta(days=2)
    assert await housekeeping.prune_events(database, NOW - timedelta(days=1), position, 10) == (0, None)
    assert (await count_rows(database))["events"] == 2


async def test_prune_events_considers_each_event_once(database: Database) -> None:
    """Several of them may have one time."""
    for _ in range(7):
        await publish(database, created=NOW - timedelta(days=2))
    released = (await claim(database))[::2]
    await claims.settle(database, build_lease(), [build_settled(item) for item in released])
    pages, position = [], FIRST_EVENT
    while True:
        number, following = await housekeeping.prune_events(database, NOW, position, 2)
        if following is None:
            break
        pages.append(number)
        position = following
    assert len(pages) == 4
    assert sum(pages) == len(released)
    assert (await count_rows(database))["events"] == 3
