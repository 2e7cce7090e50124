"""The log of a SQLite file is copied to the file next to writes: it stays short, and nothing is lost."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.sqlite import file as sqlite_file
from persistence.sqlite import write_ahead_log
from tests.factories import build_web_message
from tests.processes import run_program

pytestmark = pytest.mark.anyio

PAGE_BYTES = 4096
LOG_PAGES = 200


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", LOG_PAGES)
    monkeypatch.setattr(write_ahead_log, "FIRST_COMMITS", write_ahead_log.FEWEST_COMMITS)


def measure(path: Path) -> int:
    return path.stat().st_size


def measure_log(path: Path) -> int:
    """Return the bytes of the log. They do not shrink when the log begins anew."""
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
async def test_log_stays_short_while_there_are_writes(path: Path, database: Database) -> None:
    writers = [asyncio.create_task(write(database, 400)) for _ in range(4)]
    ids = {id_ for written in await asyncio.gather(*writers) for id_ in written}
    # Without copies it would have more than `MAX_LOG_PAGES`. A thread of a busy machine may be late.
    assert measure_log(path) < write_ahead_log.MAX_LOG_PAGES * PAGE_BYTES / 2
    assert read_ids(path) == ids


@pytest.fixture
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "FIRST_COMMITS", sys.maxsize)
    monkeypatch.setattr(sqlite_file, "ADVANCE_SECONDS", float("inf"))


@pytest.mark.usefixtures("no_copies")
async def test_commits_of_the_loop_do_not_copy_the_log(path: Path, database: Database) -> None:
    """The default of SQLite is a copy after 1,000 pages."""
    before = measure(path)
    await write(database, 300)
    assert measure_log(path) > 1200 * PAGE_BYTES
    assert measure(path) == before


@pytest.mark.usefixtures("no_copies")
async def test_commits_of_the_loop_limit_the_log_without_the_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead_log, "MAX_LOG_PAGES", LOG_PAGES)
    database = open_database(f"sqlite:///{path}")
    await write(database, 300)
    assert measure_log(path) < 2 * LOG_PAGES * PAGE_BYTES
    await database.close()


@pytest.mark.usefixtures("short_log")
async def test_log_grows_during_a_long_read_and_begins_anew_after_it(path: Path, database: Database) -> None:
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


async def test_rest_of_a_copy_is_copied_while_no_write_runs(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead_log, "FIRST_COMMITS", 1)
    engine, lock = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool), asyncio.Lock()
    copies = write_ahead_log.Checkpoints(engine, sqlite_file.SqliteFile(path), lock)
    ids = await write(database, 1)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from web_messages").fetchone()
        ids += await write(database, 3)
        locks = []

        def end_read(*_: object) -> None:
            locks.append(lock.locked())
            reader.close()

        sa.event.listen(engine, "after_cursor_execute", end_read)
        copies.count_commit()
        await copies.finish()
    copies.close()
    assert locks == [False, True]
    # Without the log:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as file:
        assert file.execute("select count(*) from web_messages").fetchone() == (len(ids),)


@pytest.mark.usefixtures("short_log")
async def test_several_processes_copy_one_log(path: Path, database: Database) -> None:
    other = open_database(f"sqlite:///{path}")
    writers = [asyncio.create_task(write(each, 400)) for each in (database, other) for _ in range(2)]
    ids = {id_ for written in await asyncio.gather(*writers) for id_ in written}
    await other.close()
    assert measure_log(path) < write_ahead_log.MAX_LOG_PAGES * PAGE_BYTES / 2
    assert read_ids(path) == ids


@pytest.mark.usefixtures("short_log")
async def test_deleted_bytes_are_freed_while_there_are_writes(database: Database) -> None:
    writers = [asyncio.create_task(write(database, 200)) for _ in range(4)]
    while not all(writer.done() for writer in writers):
        assert await database.free_deleted_bytes()
    await asyncio.gather(*writers)


@pytest.mark.usefixtures("short_log")
async def test_close_waits_for_a_copy(path: Path) -> None:
    tasks = asyncio.all_tasks()
    database = open_database(f"sqlite:///{path}")
    ids = await write(database, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        # The copy is not complete, and so it needs the lock of writes.
        reader.execute("begin")
        reader.execute("select count(*) from web_messages").fetchone()
        ids += await write(database, write_ahead_log.FEWEST_COMMITS - 1)
        await database.close()
        assert asyncio.all_tasks() == tasks
    assert read_ids(path) == set(ids)


def test_process_that_is_killed_at_any_line_of_a_copy_loses_nothing(path: Path) -> None:
    killed = run_program(sys.executable, "-m", "tests.persistence.sqlite.kill_write_ahead_log", str(path))
    assert killed.returncode == 0, killed.stderr
    assert int(killed.stdout) > 40
