"""Plans of the queue on PostgreSQL. A cached plan serves a full queue although it was made for an empty one."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from persistence.postgresql.database import PostgresqlDatabase
from persistence.queue import back_offs, claims, due_deliveries, receipts
from persistence.work import large_queue_write, large_write, mark, queue_write
from tests.persistence.postgresql.plans import explain, list_scans

pytestmark = pytest.mark.anyio

STATEMENTS: dict[str, sa.Executable] = {
    "look at systems": due_deliveries._LOOK_AT_SYSTEMS["postgresql"].statement,
    "look at subscriptions": due_deliveries._LOOK_AT_SUBSCRIPTIONS["postgresql"].statement,
    "set aside": claims._SET_ASIDE["postgresql"],
    "claim": claims._CLAIM,
    "release": claims._RELEASE["postgresql"],
    "replace by receipts": receipts._REPLACE_ON_POSTGRESQL,
    "fail": claims._FAIL["postgresql"],
    "still held": claims._STILL_HELD["postgresql"],
    "waiting targets": back_offs._WAITING_TARGETS["postgresql"],
    "let next go": claims._LET_NEXT_GO["postgresql"],
}
LOOKED_UP = ("number = ", "subscription_id = ", "system_id = ")


@pytest.fixture
async def postgresql(url: str) -> AsyncIterator[PostgresqlDatabase]:
    database = PostgresqlDatabase(url)
    yield database
    await database.close()


@pytest.mark.parametrize("name", STATEMENTS)
async def test_plan_for_an_empty_queue_reads_only_what_it_looks_up(postgresql: PostgresqlDatabase, name: str) -> None:
    nodes = await postgresql.mark(mark(explain), STATEMENTS[name])
    nodes += await postgresql.write(queue_write(explain), STATEMENTS[name])
    scans = list_scans(nodes, "deliveries")
    assert scans
    for node in scans:
        assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, node
        if node["Index Name"] != "ix_deliveries_urgent":
            assert node["Index Cond"].lstrip("(").startswith(LOOKED_UP), node


def _read_settings(connection: sa.Connection) -> tuple[str, str]:
    limits = sa.text("select current_setting('statement_timeout'), current_setting('enable_hashjoin')")
    timeout, hash_join = connection.execute(limits).one()
    return timeout, hash_join


async def test_large_work_of_the_queue_has_its_settings_and_the_limits_of_long_work(
    postgresql: PostgresqlDatabase,
) -> None:
    assert await postgresql.write(queue_write(_read_settings)) == ("15s", "off")
    assert await postgresql.write(large_queue_write(_read_settings)) == ("2min", "off")
    assert await postgresql.write(large_write(_read_settings)) == ("2min", "on")
