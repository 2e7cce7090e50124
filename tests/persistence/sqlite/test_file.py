"""A database file that is replaced, emptied or overwritten while it is open."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from domain.errors import StorageFailed
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.sqlite import file as sqlite_file
from persistence.web_message_inserts import LARGE_BYTES
from tests.factories import build_attachment, build_web_message

pytestmark = pytest.mark.anyio


def remove(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def move_copy_over(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def move_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize("replace", [remove, move_copy_over, move_away])
async def test_writes_fail_when_the_file_is_replaced(
    path: Path, database: Database, replace: Callable[[Path], None]
) -> None:
    message = build_web_message()
    await stored.store(database, message)
    await database.check_health()
    replace(path)
    large = build_web_message(attachments=(build_attachment(data=bytes(LARGE_BYTES + 1)),))
    for write in (stored.store(database, build_web_message()), stored.store(database, large), database.check_health()):
        with pytest.raises(StorageFailed) as caught:
            await write
        assert caught.value.reason == "file replaced"
    # The open file can still be read.
    assert (await stored.get(database, message.id)).id == message.id


async def test_writes_fail_when_the_file_is_emptied(path: Path, database: Database) -> None:
    await stored.store(database, build_web_message())
    # Copying an empty backup over the file has this effect.
    os.truncate(path, 0)
    for write in (stored.store(database, build_web_message()), database.check_health()):
        with pytest.raises(StorageFailed) as caught:
            await write
        assert caught.value.reason == "file replaced"


async def test_writes_continue_when_the_file_is_restored(path: Path, database: Database) -> None:
    await stored.store(database, build_web_message())
    move_away(path)
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(StorageFailed):
                await database.check_health()
    assert [(line["event"], line["log_level"]) for line in lines] == [("database_file_replaced", "error")]
    path.with_name("elsewhere").rename(path)
    await database.check_health()
    await stored.store(database, build_web_message())


@pytest.fixture
def quick_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "ADVANCE_SECONDS", 0.0)
    monkeypatch.setattr(sqlite_file, "LOOK_SECONDS", 0.0)


def advance(file: sqlite_file.SqliteFile, connection: sa.Connection) -> None:
    """Begin a new generation of a file that no other process uses."""
    file.advance(connection, lambda own: own.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").close())


@pytest.mark.usefixtures("quick_generations")
async def test_writes_begin_new_generations(path: Path, database: Database) -> None:
    async with asyncio.timeout(10):
        while (sqlite_file.read_generation(path) or 0) < 2:
            await stored.store(database, build_web_message())


@pytest.mark.usefixtures("database")
async def test_generation_that_begins_during_a_look_is_no_sign_of_an_older_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOOK_SECONDS", 0.0)
    file = sqlite_file.SqliteFile(path)
    file.open()
    read = sqlite_file.read_generation
    with connected(path) as connection:

        def read_and_advance(of: Path) -> int | None:
            generation = read(of)
            monkeypatch.setattr(sqlite_file, "read_generation", read)
            advance(file, connection)
            return generation

        monkeypatch.setattr(sqlite_file, "read_generation", read_and_advance)
        file.check()
        file.check()


async def test_writes_fail_when_the_file_is_overwritten_by_an_older_copy(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOOK_SECONDS", 0.0)
    await stored.store(database, build_web_message())
    backup = back_up(path)
    with connected(path) as connection:
        advance(sqlite_file.SqliteFile(path), connection)
    await database.check_health()
    overwrite(path, backup)
    large = build_web_message(attachments=(build_attachment(data=bytes(LARGE_BYTES + 1)),))
    with capture_logs() as lines:
        for write in (
            database.check_health(),
            stored.store(database, build_web_message()),
            stored.store(database, large),
        ):
            with pytest.raises(StorageFailed) as caught:
                await write
            assert caught.value.reason == "file replaced"
            assert "overwritten by an older copy" in caught.value.explanation
    assert [(line["event"], line["log_level"]) for line in lines] == [("database_file_replaced", "error")]


def test_new_generation_does_not_hide_that_the_file_was_overwritten(path: Path) -> None:
    file = sqlite_file.SqliteFile(path)
    file.open()
    backup = back_up(path)
    with connected(path) as connection:
        advance(file, connection)
        file.check()
        overwrite(path, backup)
        # The last check of the file was a moment ago.
        with pytest.raises(StorageFailed):
            advance(file, connection)
        with pytest.raises(StorageFailed):
            file.check()


@pytest.mark.usefixtures("quick_generations")
async def test_maintenance_of_a_file_in_use_is_no_replacement(path: Path, database: Database) -> None:
    other = open_database(f"sqlite:///{path}")
    for _ in range(3):
        await stored.store(database, build_web_message())
        await stored.store(other, build_web_message())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        touch(path)
        await database.check_health()
        await other.check_health()
    await other.close()
    await stored.store(database, build_web_message())


@contextmanager
def connected(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


def back_up(path: Path) -> Path:
    backup = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    return backup


def touch(path: Path) -> None:
    path.touch()


def overwrite(path: Path, backup: Path) -> None:
    """Overwrite the file in place, as `cp` does."""
    content = backup.read_bytes()
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content)
