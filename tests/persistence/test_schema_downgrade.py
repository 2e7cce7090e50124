"""Each migration can be undone with the data of this version, on both databases."""

import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from persistence import schema
from persistence.database import Database, DatabaseUnusable
from persistence.work import bulk_write, short_read
from tests.databases import run_with_database
from tests.persistence.filled_tables import fill_tables
from tests.persistence.rows import count_rows
from tests.persistence.test_schema import VERSIONS, describe_lines, describe_schema, list_table_names

pytestmark = pytest.mark.anyio

LOST = {
    # The version cannot record what operators removed.
    "0024": {"removal_counts"},
    # The text of a key cannot be computed from its hash.
    "0010": {"idempotency_keys"},
    # Its tables were never used.
    "0002": {"deliveries", "events"},
}
"""Tables that lose their rows when a database returns to a version, besides those that the version does not have."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("postgresql_server").create_empty(f"downgraded_{uuid.uuid4().hex}")
    return url


def count_present_rows(connection: sa.Connection) -> dict[str, int]:
    names = list_table_names(connection) - {"alembic_version"}
    return {name: connection.scalar(sa.text(f"select count(*) from {name}")) or 0 for name in names}


def test_each_migration_is_undone_with_data(empty_url: str) -> None:
    revisions = sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))

    async def scenario(database: Any) -> None:
        described = {}
        for revision in revisions:
            assert await database._change_tables(lambda connection: schema.upgrade(connection, steps=1))
            described[revision] = describe_lines(await database.read(short_read(describe_schema)))
        await database.write(bulk_write(fill_tables))
        expected = await database.read(short_read(count_present_rows))
        assert set(expected.values()) == {1}, "fill_tables must fill each table"
        for revision in reversed(revisions[:-1]):
            await database.downgrade(revision)
            assert describe_lines(await database.read(short_read(describe_schema))) == described[revision], revision
            found = await database.read(short_read(count_present_rows))
            lost = dict.fromkeys(LOST.get(revision, ()), 0)
            expected = {name: number for name, number in expected.items() if name in found} | lost
            assert found == expected, revision
        await database.migrate()
        await database.check_version()
        assert describe_lines(await database.read(short_read(describe_schema))) == described[revisions[-1]]
        assert (await count_rows(database))["web_messages"] == 1

    run_with_database(empty_url, scenario)


@pytest.mark.parametrize("revision", ["9999", "17", ""])
async def test_downgrade_refuses_an_unknown_version(database: Database, revision: str) -> None:
    with pytest.raises(DatabaseUnusable, match="there is no version"):
        await database.downgrade(revision)
    await database.check_version()


async def test_downgrade_refuses_the_present_version(database: Database) -> None:
    (latest,) = await database.read(
        short_read(lambda connection: connection.scalars(sa.text("select version_num from alembic_version")).all())
    )
    with pytest.raises(DatabaseUnusable, match=f"is not later than {latest}"):
        await database.downgrade(latest)
