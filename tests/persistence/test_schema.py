"""Migrations create the tables once, with any number of processes and after any interruption."""

import re
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import alembic.autogenerate
import alembic.migration
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from structlog.testing import capture_logs

from budkavle.receipt_sealing import seal_receipts
from domain.idempotency_keys import IdempotencyKey, KeyedMessage
from openapi.observation.logs import set_up_logs
from persistence import idempotency_keys, schema, tables
from persistence import web_messages as stored
from persistence.database import Database, DatabaseUnusable
from persistence.sqlite.database import SqliteDatabase
from persistence.tables import metadata
from persistence.work import bulk_write, short_read, short_write
from tests.databases import run_with_database
from tests.factories import NOW, build_attachment, build_web_message
from tests.persistence.queues import list_rows
from tests.persistence.rows import count_rows, execute
from tests.persistence.test_receipt_rounds import build_rows
from tests.processes import budkavle, python, run_program, running

pytestmark = pytest.mark.anyio

UNNAMED = {"columns", "storage"}
VERSIONS = Path(__file__).parents[2] / "persistence" / "migrations" / "versions"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a database of each kind without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("postgresql_server").create_empty(f"empty_{uuid.uuid4().hex}")
    return url


def list_table_names(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def render_index(index: Any) -> dict[str, Any]:
    """Return an index with the conditions of its dialects as text, so that it can be compared."""
    return {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}


def list_storage_parameters(connection: sa.Connection) -> dict[str, list[str]]:
    """Return the storage parameters of the tables that have any."""
    if connection.dialect.name != "postgresql":
        return {}
    query = sa.text(
        "select relname, array(select unnest(reloptions) order by 1) from pg_class"
        " where relkind = 'r' and reloptions is not null and relnamespace = cast(current_schema() as regnamespace)"
    )
    return dict(iter(connection.execute(query)))


def describe_schema(connection: sa.Connection) -> dict[str, Any]:
    """Return everything that SQLAlchemy can reflect: columns, keys, constraints and indexes with their names.

    One query per kind reads it for all tables.
    """
    inspector = sa.inspect(connection)
    columns, primary_keys = inspector.get_multi_columns(), inspector.get_multi_pk_constraint()
    foreign_keys, checks = inspector.get_multi_foreign_keys(), inspector.get_multi_check_constraints()
    indexes, unique = inspector.get_multi_indexes(), inspector.get_multi_unique_constraints()
    storage = list_storage_parameters(connection)
    return {
        name: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in columns[None, name]
            ],
            "primary key": [primary_keys[None, name]],
            "foreign keys": foreign_keys[None, name],
            "checks": sorted(checks[None, name], key=str),
            "indexes": sorted(map(render_index, indexes[None, name]), key=str),
            "unique": sorted(unique[None, name], key=str),
            "storage": storage.get(name, []),
        }
        for name in sorted(list_table_names(connection) - {"alembic_version"})
    }


def describe_lines(described: dict[str, Any]) -> set[str]:
    """Return a line for each part of a description. The order of columns has no meaning."""
    return {
        f"{table} {kind}: {part}"
        for table, kinds in described.items()
        for kind, parts in kinds.items()
        for part in parts
    }


def find_differences(connection: sa.Connection) -> list[Any]:
    context = alembic.migration.MigrationContext.configure(connection, opts={"compare_server_default": True})
    return list(alembic.autogenerate.compare_metadata(context, metadata))


async def test_migrations_equal_the_tables(database: Database) -> None:
    assert await database.read(short_read(find_differences)) == []


def test_migrations_create_the_same_as_the_tables_including_names(empty_url: str, database_url: str) -> None:
    if sa.make_url(empty_url).drivername != sa.make_url(database_url).drivername:
        return

    async def describe(database: Database) -> set[str]:
        return describe_lines(await database.read(short_read(describe_schema)))

    async def create(database: Database) -> set[str]:
        await database.write(short_write(metadata.create_all))
        return await describe(database)

    of_tables, of_migrations = run_with_database(empty_url, create), run_with_database(database_url, describe)
    assert of_tables == of_migrations, "change persistence/tables.py and add a migration that does the same"


async def test_constraints_and_indexes_are_named_after_their_table(database: Database) -> None:
    for table, parts in (await database.read(short_read(describe_schema))).items():
        names = {part["name"] for kind, named in parts.items() if kind not in UNNAMED for part in named}
        # SQLite has no name for an autoincrement key.
        unnamed = {None} if table in {"deliveries", "receipts"} and isinstance(database, SqliteDatabase) else set()
        assert [
            name for name in names - unnamed if not re.fullmatch(rf"(pk|fk|ck|ix|uq)_{table}(_\w+)?", name or "")
        ] == []


def test_migrations_are_linear() -> None:
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    revisions = list(reversed(list(ScriptDirectory.from_config(config).walk_revisions())))
    assert [revision.revision for revision in revisions] == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    assert [revision.down_revision for revision in revisions] == [None, *(r.revision for r in revisions[:-1])]
    for revision in revisions:
        assert re.fullmatch(rf"{revision.revision}_[a-z0-9_]+\.py", Path(revision.path).name)


@pytest.mark.parametrize("path", sorted(VERSIONS.parent.rglob("*.py")), ids=lambda path: path.stem)
def test_migrations_import_nothing_of_the_program(path: Path) -> None:
    """The program of a later version still has to run them unchanged."""
    imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
    assert {"alembic"} <= set(imported) - sys.stdlib_module_names <= {"alembic", "sqlalchemy"}


NEXT = """
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade():
    with op.batch_alter_table("web_messages") as batch:
        batch.drop_constraint(op.f("ck_web_messages_state"), type_="check")
        batch.create_check_constraint(op.f("ck_web_messages_state"), "state in ('stored', 'another')")
"""


def test_a_migration_that_changes_a_constraint_keeps_the_rows_that_refer_to_its_table(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, such a migration copies the table and drops the old one."""
    message = build_web_message(attachments=(build_attachment(),))

    async def put(database: Database) -> dict[str, int]:
        await database.migrate()
        await stored.store(database, message)
        return await count_rows(database)

    async def migrate(database: Database) -> dict[str, int]:
        await database.migrate()
        await execute(database, "update web_messages set state = 'another', created = null")
        found = await count_rows(database)
        await database.write(bulk_write(lambda connection: connection.execute(tables.web_messages.delete())))
        assert await count_rows(database) == {}
        return found

    before = run_with_database(empty_url, put)
    migrations = tmp_path / "migrations"
    shutil.copytree(VERSIONS.parent, migrations)
    head = max(path.name for path in VERSIONS.glob("*.py"))[:4]
    (migrations / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    assert run_with_database(empty_url, migrate) == before


HASHED_KEYS = "0011"


def test_migration_to_hashed_idempotency_keys_keeps_the_keys(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [build_web_message() for _ in range(3)]
    keys = [
        IdempotencyKey("ärendesystem", "createWebMessage", key, message)
        for key, message in zip(("k1", '" \\', "k3"), messages, strict=True)
    ]

    def insert(connection: sa.Connection) -> None:
        table = sa.Table("idempotency_keys", sa.MetaData(), autoload_with=connection)
        for message, key in zip(messages, keys, strict=True):
            values = {name: getattr(key, name) for name in ("caller", "operation", "key", "fingerprint")}
            id_ = message.id if connection.dialect.name == "postgresql" else message.id.replace("-", "")
            connection.execute(table.insert(), values | {"message_id": id_, "created": message.created})

    async def put(database: Database) -> None:
        await database.migrate()
        await database.write(short_write(insert))

    async def migrate(database: Database) -> None:
        await database.migrate()
        for message, key in zip(messages, keys, strict=True):
            expected = KeyedMessage(message.id, key.fingerprint, is_settled=True)
            assert await idempotency_keys.find(database, key) == expected
            assert not await stored.store(database, build_web_message(), key)

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", copy_migrations_before(HASHED_KEYS, tmp_path))
        run_with_database(empty_url, put)
    run_with_database(empty_url, migrate)


def copy_migrations_before(revision: str, folder: Path) -> Path:
    """Return a folder with the migrations of a version before a revision."""
    old = folder / "migrations"
    shutil.copytree(VERSIONS.parent, old)
    for path in (old / "versions").glob("[0-9]*.py"):
        if path.name[:4] >= revision:
            path.unlink()
    return old


NUMBERED_RECEIPTS = "0014"


def test_migration_numbers_the_receipts_which_are_then_sealed(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = build_rows(5)

    def insert(connection: sa.Connection) -> None:
        table = sa.Table("receipts", sa.MetaData(), autoload_with=connection)
        for row in rows:
            ids = {name: row[name].replace("-", "") for name in ("id", "event_id", "system_id")}
            times = {name: row[name].replace(tzinfo=None) for name in ("accepted", "first_attempt", "last_attempt")}
            is_sqlite = connection.dialect.name == "sqlite"
            connection.execute(table.insert(), row | ids | times if is_sqlite else row)

    async def put(database: Database) -> None:
        await database.migrate()
        await database.write(short_write(insert))

    async def migrate(database: Database) -> None:
        await database.migrate()
        found = await list_rows(database, tables.receipts)
        assert [row["number"] for row in found] == [1, 2, 3, 4, 5]
        assert [row["id"] for row in found] == [row["id"] for row in rows]
        # The old version goes on, without numbers.
        (later,) = build_rows(1)
        await database.write(short_write(lambda connection: connection.execute(tables.receipts.insert(), later)))
        assert await seal_receipts(database, NOW) == 6

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", copy_migrations_before(NUMBERED_RECEIPTS, tmp_path))
        run_with_database(empty_url, put)
    run_with_database(empty_url, migrate)


USE = """
import asyncio, sys
from persistence.opening import open_database

async def use():
    database = open_database(sys.argv[1])
    await database.migrate()
    await database.check_version()
    await database.close()

asyncio.run(use())
print("alembic" in sys.modules)
"""


def test_a_migrated_database_is_used_without_alembic(database_url: str) -> None:
    """Its import takes a tenth of the start of every command."""
    assert run_program(*python(USE), database_url).stdout == "False\n"


def test_check_version_refuses_a_database_without_tables(empty_url: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        run_with_database(empty_url, lambda database: database.check_version())
    assert str(caught.value) == "the database has no tables of this program: run 'budkavle migrate'"


def test_migrate_makes_a_database_usable_and_is_idempotent(empty_url: str) -> None:
    async def scenario(database: Database) -> None:
        await database.migrate()
        await database.check_version()
        message = build_web_message()
        await stored.store(database, message)
        before = await database.read(short_read(describe_schema))
        await database.migrate()
        assert await database.read(short_read(describe_schema)) == before
        assert await stored.get(database, message.id) == message

    run_with_database(empty_url, scenario)


@pytest.mark.parametrize("oldest", ["'9998'", "null"])
async def test_later_database_that_does_not_support_this_version_is_refused(database: Database, oldest: str) -> None:
    await execute(database, f"update alembic_version set version_num = '9999', oldest = {oldest}")
    for call in (database.check_version, database.migrate):
        with pytest.raises(DatabaseUnusable, match="the database is at version 9999"):
            await call()


async def test_later_database_that_supports_this_version_is_used_as_it_is(database: Database) -> None:
    """Processes of the previous version start while the new one replaces them."""
    await execute(database, "update alembic_version set version_num = '9999'")
    set_up_logs("json", "warning")
    with capture_logs() as lines:
        await database.check_version()
        await database.migrate()
    set_up_logs("json", "error")
    assert [line["event"] for line in lines] == ["database_is_later"] * 2
    with pytest.raises(DatabaseUnusable, match="the database is at version 9999"):
        await database.downgrade("0017")
    assert await database.read(short_read(schema.read_revision)) == "9999"


def test_migrate_may_run_concurrently(empty_url: str) -> None:
    with (
        running(*budkavle("migrate"), database_url=empty_url) as first,
        running(*budkavle("migrate"), database_url=empty_url) as second,
    ):
        assert [(process.wait(), process.err) for process in (first, second)] == [(0, []), (0, [])]
    run_with_database(empty_url, lambda database: database.check_version())


DIE = """
import asyncio, os, signal, sys
import sqlalchemy as sa
from persistence.opening import open_database

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.strip().startswith("CREATE TABLE web_message_attachments"):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(open_database(sys.stdin.readline().strip()).migrate())
"""


def test_killed_migration_leaves_the_old_tables(empty_url: str) -> None:
    async def prepare(database: Database) -> None:
        await execute(database, "create table old (id integer)")
        await execute(database, "insert into old values (1)")

    run_with_database(empty_url, prepare)
    with running(*python(DIE)) as process:
        process.write_line(empty_url)
        assert process.wait() == -signal.SIGKILL

    async def scenario(database: Database) -> None:
        assert await database.read(short_read(list_table_names)) == {"old"}
        with pytest.raises(DatabaseUnusable):
            await database.check_version()
        await database.migrate()
        await database.check_version()
        assert await database.read(short_read(lambda connection: connection.scalar(sa.text("select id from old")))) == 1
        await stored.store(database, build_web_message())

    run_with_database(empty_url, scenario)
