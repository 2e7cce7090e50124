"""Migrations on PostgreSQL do not hold up other work while they wait for a lock."""

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from domain.errors import StorageBlocked
from openapi.observation.logs import set_up_logs
from persistence import schema
from persistence import web_messages as stored
from persistence.opening import open_database
from persistence.postgresql import database as postgresql
from persistence.work import short_read
from tests.factories import build_web_message
from tests.persistence.test_schema import VERSIONS
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

MIGRATION = """
from alembic import op

revision, down_revision = "{revision}", "{previous}"


def upgrade():
    op.execute("alter table {table} add column later_{revision} text")
"""


@pytest.fixture
def next_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two migrations of a later version: one of API keys, then one of messages."""
    migrations = tmp_path / "migrations"
    shutil.copytree(VERSIONS.parent, migrations)
    head = max(path.name for path in VERSIONS.glob("[0-9]*.py"))[:4]
    for revision, previous, table in (("9998", head, "api_keys"), ("9999", "9998", "web_messages")):
        text = MIGRATION.format(revision=revision, previous=previous, table=table)
        (migrations / "versions" / f"{revision}_later.py").write_text(text)
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(postgresql, "MIGRATION_LOCK_SECONDS", 0.2)
    monkeypatch.setattr(postgresql, "MIGRATION_RETRY_SECONDS", (0.2, 0.2))


@pytest.mark.usefixtures("next_migrations")
async def test_migration_that_waits_for_a_lock_lets_other_work_through(url: str, other: asyncpg.Connection) -> None:
    database, migrating = open_database(url), open_database(url)
    await stored.store(database, build_web_message())
    async with other.transaction():
        # A long transaction, such as a dump.
        await other.execute("select count(*) from web_messages")
        set_up_logs("json", "warning")
        with capture_logs() as lines:
            migration = asyncio.create_task(migrating.migrate())
            await wait_until(lambda: any(line["event"] == "migration_blocked" for line in lines))
            # Behind a lock that is waited for, even reads would wait until this transaction ends.
            for _ in range(3):
                await stored.store(database, build_web_message())
        set_up_logs("json", "error")
        assert not migration.done()
        assert await database.read(short_read(schema.read_revision)) == "9998"
    await migration
    assert await database.read(short_read(schema.read_revision)) == "9999"
    for each in (database, migrating):
        await each.close()


@pytest.mark.usefixtures("next_migrations")
async def test_migration_that_stays_blocked_fails_and_keeps_earlier_ones(
    url: str, other: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "BLOCKED_SECONDS", 0.0)
    database = open_database(url)
    async with other.transaction():
        await other.execute("select count(*) from web_messages")
        with pytest.raises(StorageBlocked) as caught:
            await database.migrate()
        assert "pg_stat_activity" in caught.value.explanation
    assert await database.read(short_read(schema.read_revision)) == "9998"
    await database.migrate()
    assert await database.read(short_read(schema.read_revision)) == "9999"
    await database.close()
