"""The log of a SQLite file is copied to the file in a thread: it stays short, and nothing is lost."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.sqlite import database as sqlite
from persistence.sqlite import file as sqlite_file
from persistence.sqlite import write_ahead_log
from persistence.sqlite.database import SqliteDatabase
from tests.factories import build_attachment, build_web_message
from tests.processes import run_program
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

PAGE_BYTES = 4096
LOG_PAGES = 200


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", LOG_PAGES)


def measure(path: Path) -> int:
    return path.stat().st_size


def measure_log(path: Path) -> int:
    """Return the bytes of the log. They do not shrink when the log is reset."""
    return measure(Path(f"{path}-wal"))


async def write(database: Database, number: int) -> list[str]:
    """Store messages one after the other, and return their ids."""
    messages = [build_web_message() for _ in range(number)]
    for message in messages:
        await stored.store(database, message)
    return [message.id for message in messages]


def read_ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        return {str(UUID(id_)) for (id_,) in connection.execute("select id from web_messages")}


@pytest.mark.usefixtures("short_log")
async def test_log_is_reset_while_there_are_writes(path: Path, database: Database) -> None:
    """Otherwise it would grow without a limit."""
    numbers, ids = await write_in_rounds(path, [database] * 4)
    assert len(numbers) > 2
    assert read_ids(path) == ids


async def write_in_rounds(path: Path, databases: Sequence[Database]) -> tuple[set[bytes], set[str]]:
    """Write to all databases at once, in rounds. Return the numbers that the log has had, and the stored ids."""
    numbers, ids = set(), set()
    for _ in range(10):
        for written in await asyncio.gather(*(write(each, 40) for each in databases)):
            ids.update(written)
        numbers.add(read_log_number(path))
    return numbers, ids


async def test_commits_do_not_copy_the_log(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of SQLite is a copy after 1,000 pages, next to the commits of other processes."""
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", sys.maxsize)
    monkeypatch.setattr(sqlite_file, "ADVANCE_SECONDS", float("inf"))
    before = measure(path)
    await write(database, 300)
    assert measure_log(path) > 1200 * PAGE_BYTES
    large = build_web_message(attachments=(build_attachment(data=bytes(5_000_000)),))
    await stored.store(database, large)
    assert measure_log(path) > 2400 * PAGE_BYTES
    assert measure(path) == before


def read_log_number(path: Path) -> bytes:
    """Return what the head of the log has that is new whenever the log is reset."""
    return Path(f"{path}-wal").read_bytes()[12:24]


def copy_and_write(path: Path) -> str:
    """Copy the whole log, and delete all messages, in a connection of its own. Return what SQLite does."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        _, pages, copied = other.execute("pragma wal_checkpoint(passive)").fetchone()
        before = read_log_number(path)
        try:
            other.execute("delete from web_messages")
        except sqlite3.OperationalError as exc:
            return str(exc)
        if read_log_number(path) == before:
            return "the log goes on" if pages == copied else "the log was not copied"
        return "the log is reset"


def run_before_each_copy(engine: sa.Engine, function: Callable[[], object]) -> None:
    def run(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "wal_checkpoint" in statement:
            function()

    sa.event.listen(engine, "before_cursor_execute", run)


@pytest.mark.parametrize(("every", "writes"), [(1e-6, 5), (float("inf"), 60)], ids=["new generation", "long log"])
async def test_log_is_not_reset_while_it_is_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch, every: float, writes: int
) -> None:
    """With SQLite before 3.51.3, that may damage the file ("WAL-reset bug")."""
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", LOG_PAGES)
    monkeypatch.setattr(sqlite_file, "ADVANCE_SECONDS", every)
    database = open_database(f"sqlite:///{path}")
    tasks = asyncio.all_tasks()

    async def write_alone() -> None:
        """Write while no copy runs."""
        await write(database, 1)
        await wait_until(lambda: asyncio.all_tasks() == tasks)

    await write_alone()
    assert copy_and_write(path) == "the log is reset"
    found: list[str] = []
    assert isinstance(database, SqliteDatabase)
    run_before_each_copy(database._writer_engine, lambda: found.append(copy_and_write(path)))
    for _ in range(writes):
        await write_alone()
    await database.close()
    assert found
    assert found == ["the log goes on", "database is locked"] * (len(found) // 2)


async def test_log_that_was_reset_before_a_copy_next_to_writes_is_not_copied(path: Path, database: Database) -> None:
    """What is copied already needs no copy. Otherwise SQLite could take new pages for those, and lose them."""
    await write(database, 1)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    found: list[str] = []
    with engine.connect() as connection:
        write_ahead_log.copy_next_to_writes(engine, connection)
        assert count_in_file(path) == 1
        await write(database, 1)
        write_ahead_log.copy_without_writes(engine, connection)
        assert count_in_file(path) == 2
        run_before_each_copy(engine, lambda: found.append(copy_and_write(path)))
        write_ahead_log.copy_next_to_writes(engine, connection)
        assert found == ["the log is reset"]
        assert (count_in_file(path), read_ids(path)) == (2, set())
        write_ahead_log.copy_without_writes(engine, connection)
        assert count_in_file(path) == 0


def count_in_file(path: Path) -> int:
    """Return the number of messages in the file, without its log."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as file:
        return int(file.execute("select count(*) from web_messages").fetchone()[0])


async def test_log_is_copied_after_large_writes(path: Path, database: Database) -> None:
    before = measure(path)
    for _ in range(4):
        await stored.store(database, build_web_message(attachments=(build_attachment(data=bytes(1_200_000)),)))
    await wait_until(lambda: measure(path) > before + 1_000_000)


@pytest.mark.usefixtures("short_log")
async def test_log_grows_during_a_long_read_and_is_reset_after_it(path: Path, database: Database) -> None:
    await write(database, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("begin")
        assert reader.execute("select count(*) from web_messages").fetchone() == (1,)
        await write(database, 200)
        assert reader.execute("select count(*) from web_messages").fetchone() == (1,)
        assert measure_log(path) > 4 * LOG_PAGES * PAGE_BYTES
    size = measure_log(path)
    await write(database, 400)
    assert measure_log(path) < 1.5 * size
    assert len(read_ids(path)) == 601


@pytest.mark.usefixtures("short_log")
async def test_several_processes_copy_one_log(path: Path, database: Database) -> None:
    other = open_database(f"sqlite:///{path}")
    numbers, ids = await write_in_rounds(path, [database, other] * 2)
    await other.close()
    assert len(numbers) > 2
    assert read_ids(path) == ids


@pytest.mark.usefixtures("short_log")
async def test_deleted_bytes_are_freed_while_there_are_writes(database: Database) -> None:
    writers = [asyncio.create_task(write(database, 200)) for _ in range(4)]
    while not all(writer.done() for writer in writers):
        assert await database.free_deleted_bytes()
    await asyncio.gather(*writers)


async def test_close_waits_for_a_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", 1)
    tasks = asyncio.all_tasks()
    database = open_database(f"sqlite:///{path}")
    ids = await write(database, 2)
    await database.close()
    assert asyncio.all_tasks() == tasks
    assert read_ids(path) == set(ids)


async def test_copy_that_another_process_prevents_is_repeated(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", 1)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0)
    other_database = open_database(f"sqlite:///{path}")
    await write(other_database, 1)
    before = measure(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageFailed):
            await write(other_database, 1)
        assert measure(path) == before
    ids = await write(database, 50)
    await other_database.close()
    await wait_until(lambda: measure(path) > before)
    assert read_ids(path) > set(ids)


def test_process_that_is_killed_at_any_line_of_a_copy_loses_nothing(path: Path) -> None:
    killed = run_program(sys.executable, "-m", "tests.persistence.sqlite.kill_write_ahead_log", str(path))
    assert killed.returncode == 0, killed.stderr
    assert int(killed.stdout) > 40
