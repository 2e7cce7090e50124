"""What only SQLite does: one writer, other processes beside it."""

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from domain.errors import StorageFailed
from persistence import web_messages as stored
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.sqlite import database as sqlite
from persistence.sqlite import file as sqlite_file
from persistence.web_message_rows import LARGE_BYTES
from persistence.work import large_read, large_write, short_read, short_write
from tests.factories import PARTY_ID, attachment, web_message
from tests.persistence.rows import content_of, counts
from tests.processes import Process, python, running

pytestmark = pytest.mark.anyio

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.stdin.readline().strip(), isolation_level=None)
connection.execute("begin immediate")
connection.execute("delete from web_messages where id = ''")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("commit")
print("free", flush=True)
"""


@pytest.fixture
def path(migrated_sqlite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()


@pytest.fixture
def holder(path: Path) -> Iterator[Process]:
    """Another process that holds the write lock until it is told a line."""
    with running(*python(HOLD)) as process:
        process.tell(str(path))
        process.wait_for("locked")
        yield process


async def test_connections_are_durable_and_check_foreign_keys(database: Database) -> None:
    def pragmas(connection: sa.Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: connection.exec_driver_sql(f"pragma {name}").scalar() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert await database.read(short_read(pragmas)) == expected
    assert await database.read(large_read(pragmas)) == expected
    assert await database.write(short_write(pragmas)) == expected
    assert await database.write(large_write(pragmas)) == expected


async def test_reads_go_on_while_a_write_waits_for_another_process(database: Database, holder: Process) -> None:
    """Were the wait on the event loop, nothing here could tell the other process to end before it fails."""
    before = web_message(party_id=None)
    writes = [
        asyncio.create_task(stored.store(database, message))
        for message in (web_message(), web_message(attachments=(attachment(b"x" * (LARGE_BYTES + 1)),)), web_message())
    ]
    for _ in range(100):
        await database.check_health()
        assert await stored.list_by_party(database, PARTY_ID, 10, None) == []
        await asyncio.sleep(0)
    assert not any(write.done() for write in writes)
    holder.tell("go on")
    await asyncio.gather(*writes)
    await stored.store(database, before)
    assert len(await stored.list_by_party(database, PARTY_ID, 10, None)) == 3


async def test_a_write_that_waits_too_long_fails_and_later_ones_do_not(
    database: Database, holder: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0)
    for message in (web_message(), web_message(message="x" * (LARGE_BYTES + 1))):
        with pytest.raises(StorageFailed):
            await stored.store(database, message)
    assert await stored.list_by_party(database, PARTY_ID, 10, None) == []
    holder.tell("go on")
    holder.wait_for("free")
    await stored.store(database, web_message())
    assert len(await stored.list_by_party(database, PARTY_ID, 10, None)) == 1


async def test_a_write_whose_caller_goes_away_while_it_waits_leaves_the_database_usable(
    database: Database, holder: Process
) -> None:
    first = asyncio.create_task(stored.store(database, web_message()))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(stored.store(database, web_message()))
    for _ in range(10):
        await asyncio.sleep(0)
    holder.tell("go on")
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    await stored.store(database, web_message())
    assert len(await stored.list_by_party(database, PARTY_ID, 10, None)) in {2, 3}


async def test_other_processes_see_what_is_written_and_write_themselves(database: Database, path: Path) -> None:
    await stored.store(database, web_message())
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("select count(*) from web_messages").fetchone() == (1,)
    other.execute("delete from web_messages")
    other.close()
    assert await stored.list_by_party(database, PARTY_ID, 10, None) == []


async def test_a_read_does_not_stop_writers_of_other_processes(database: Database, path: Path) -> None:
    """No read leaves a transaction open."""
    await stored.store(database, web_message(attachments=(attachment(b"x" * (LARGE_BYTES + 1)),)))
    (message,) = await stored.list_by_party(database, PARTY_ID, 1, None)
    await content_of(database, message.attachments[0])
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    other.execute("begin exclusive")
    other.execute("rollback")
    assert other.execute("pragma wal_checkpoint(truncate)").fetchone() == (0, 0, 0)
    other.close()


async def test_a_file_that_is_no_database_is_a_failure_of_storage(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("This is no database. " * 1000)
    database = open_database(f"sqlite:///{path}")
    for call in (database.check_health, lambda: stored.store(database, web_message()), database.migrate):
        with pytest.raises(StorageFailed):
            await call()
    await database.close()


async def test_a_file_that_cannot_be_made_is_a_failure_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "test.db"):
        database = open_database(f"sqlite:///{path}")
        for call in (database.check_health, database.migrate):
            with pytest.raises(StorageFailed):
                await call()
        await database.close()


@pytest.mark.parametrize("size", [200_000, LARGE_BYTES + 1], ids=["inline", "in-thread"])
async def test_a_full_file_fails_the_write_and_nothing_else(database: Database, size: int) -> None:
    async def limit(pages: int) -> None:
        def run(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"pragma max_page_count = {pages}")

        await database.write(short_write(run))
        await database.write(large_write(run))

    small, large = web_message(), web_message(message="x" * size)
    await stored.store(database, small)
    await limit(1)
    with pytest.raises(StorageFailed):
        await stored.store(database, web_message(message="x" * size))
    await limit(1_000_000)
    await stored.store(database, large)
    assert [(await stored.get(database, item.id)).message for item in (small, large)] == [small.message, large.message]


async def test_migrate_makes_the_folder(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/deep/er/100% å.db")
    await database.migrate()
    await stored.store(database, web_message())
    await database.close()
    assert (tmp_path / "deep" / "er" / "100% å.db").stat().st_size > 0


def modes_in(folder: Path) -> list[int]:
    return [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()]


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def content_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_files_are_private_and_deleted_bytes_are_gone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "private.db"
        database = open_database(f"sqlite:///{path}")
        await database.migrate()
        message = web_message(message="a text that must not stay" * 50)
        await stored.store(database, message)
        async with database.hold_worker_lock(lambda: None):
            modes = modes_in(tmp_path)
            assert len(modes) >= 4
            assert set(modes) == {0o600}
        await stored.delete(database, message.id)
        await database.close()
    finally:
        os.umask(old)
    assert b"a text that must not stay" not in content_in(tmp_path)


async def test_a_file_that_exists_keeps_its_mode(tmp_path: Path, migrated_sqlite: bytes) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(migrated_sqlite)
    path.chmod(0o660)
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    await database.close()
    assert 0o660 in modes_in(tmp_path)


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
async def test_writes_end_when_the_file_is_replaced(
    path: Path, database: Database, replace: Callable[[Path], None]
) -> None:
    message = web_message()
    await stored.store(database, message)
    await database.check_health()
    replace(path)
    large = web_message(attachments=(attachment(data=bytes(LARGE_BYTES + 1)),))
    for write in (stored.store(database, web_message()), stored.store(database, large), database.check_health()):
        with pytest.raises(StorageFailed) as caught:
            await write
        assert caught.value.reason == "file replaced"
    # The file that is open can still be read.
    assert (await stored.get(database, message.id)).id == message.id


async def test_writes_end_when_the_file_is_emptied(path: Path, database: Database) -> None:
    await stored.store(database, web_message())
    # As a copy of an empty backup over it does.
    os.truncate(path, 0)
    for write in (stored.store(database, web_message()), database.check_health()):
        with pytest.raises(StorageFailed) as caught:
            await write
        assert caught.value.reason == "file replaced"


def files_of(path: Path) -> dict[str, bytes]:
    files = (path, Path(f"{path}-wal"))
    return {each.name: each.read_bytes() for each in files if each.exists()}


async def check_refused(path: Path, message: str) -> None:
    """Check that no use of a database begins a new one there, and that its files stay as they are."""
    before = files_of(path)
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnusable) as in_migrate:
        await database.migrate()
    with pytest.raises(DatabaseUnusable) as in_check:
        database.check_exists()
    await database.close()
    assert (str(in_migrate.value), str(in_check.value)) == (message, message)
    assert files_of(path) == before


async def check_new(path: Path) -> None:
    """Check that a new database begins there."""
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    database.check_exists()
    assert await counts(database) == {}
    await database.close()
    assert not path.with_name(f"{path.name}.new").exists()


async def test_an_empty_file_is_refused_until_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    path.touch()
    remedy = f"restore it from a backup, or remove {path} to begin with a new database"
    await check_refused(path, f"the database file {path} is empty: {remedy}")
    path.unlink()
    await check_new(path)


@pytest.mark.parametrize("is_emptied", [True, False])
async def test_changes_without_their_database_are_refused_until_they_are_removed(
    tmp_path: Path, *, is_emptied: bool
) -> None:
    path, log_path = tmp_path / "b.db", tmp_path / "b.db-wal"
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    await stored.store(database, web_message())
    changes = log_path.read_bytes()
    await database.close()
    path.unlink()
    # As a process that was killed leaves it.
    log_path.write_bytes(changes)
    if is_emptied:
        touch(path)
        found, remains = f"the database file {path} is empty", f"{path} and {log_path}"
    else:
        found, remains = f"there is no database file {path}, but {log_path} has changes of it", str(log_path)
    remedy = f"restore it from a backup, or remove {remains} to begin with a new database"
    await check_refused(path, f"{found}: {remedy}")
    for each in (path, log_path):
        each.unlink(missing_ok=True)
    await check_new(path)


DIE = """
import asyncio, os, signal, sys
import sqlalchemy as sa
from persistence.opening import open_database

@sa.event.listens_for(sa.Pool, "connect", insert=True)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(open_database(sys.stdin.readline().strip()).migrate())
"""


async def test_a_first_start_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with running(*python(DIE)) as process:
        process.tell(f"sqlite:///{path}")
        assert process.wait() == -signal.SIGKILL
    assert names_in(tmp_path) == ["b.db.lock", "b.db.new"]
    await check_new(path)


async def test_migrate_creates_the_file_that_a_link_names(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (tmp_path / "b.db").symlink_to(folder / "real.db")
    await check_new(tmp_path / "b.db")
    assert (tmp_path / "b.db").is_symlink()
    assert (folder / "real.db").stat().st_size > 0


async def test_writes_go_on_when_the_file_is_back(path: Path, database: Database) -> None:
    await stored.store(database, web_message())
    move_away(path)
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(StorageFailed):
                await database.check_health()
    assert [(line["event"], line["log_level"]) for line in lines] == [("database_file_replaced", "error")]
    path.with_name("elsewhere").rename(path)
    await database.check_health()
    await stored.store(database, web_message())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_health_fails_while_the_disk_is_full(small_disk: Path, migrated_sqlite: bytes) -> None:
    path = small_disk / "test.db"
    path.write_bytes(migrated_sqlite)
    database = open_database(f"sqlite:///{path}")
    await stored.store(database, web_message())
    await database.check_health()
    filler = small_disk / "filler"
    fill(filler)
    reasons = []
    while len(reasons) < 3:
        try:
            await stored.store(database, web_message(message="x" * 100_000))
        except StorageFailed as exc:
            reasons.append(exc.reason)
    assert all("SQLITE_FULL" in reason for reason in reasons)
    with pytest.raises(StorageFailed):
        await database.check_health()
    remove(filler)
    await database.check_health()
    await stored.store(database, web_message())
    await database.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def quick_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "ADVANCE_SECONDS", 0.0)
    monkeypatch.setattr(sqlite_file, "LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("quick_generations")
async def test_writes_begin_new_generations(path: Path, database: Database) -> None:
    async with asyncio.timeout(10):
        while (sqlite_file.read_generation(path) or 0) < 2:
            await stored.store(database, web_message())


async def test_writes_end_when_the_file_is_overwritten_by_an_older_copy(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOOK_SECONDS", 0.0)
    await stored.store(database, web_message())
    backup = back_up(path)
    with connected(path) as connection:
        sqlite_file.SqliteFile(path).advance(connection)
    await database.check_health()
    overwrite(path, backup)
    large = web_message(attachments=(attachment(data=bytes(LARGE_BYTES + 1)),))
    with capture_logs() as lines:
        for write in (database.check_health(), stored.store(database, web_message()), stored.store(database, large)):
            with pytest.raises(StorageFailed) as caught:
                await write
            assert caught.value.reason == "file replaced"
            assert "overwritten by an older copy" in caught.value.explanation
    assert [(line["event"], line["log_level"]) for line in lines] == [("database_file_replaced", "error")]


def test_a_new_generation_does_not_hide_that_the_file_was_overwritten(path: Path) -> None:
    file = sqlite_file.SqliteFile(path)
    file.open()
    backup = back_up(path)
    with connected(path) as connection:
        file.advance(connection)
        file.check()
        overwrite(path, backup)
        # The last look at the file was a moment ago.
        with pytest.raises(StorageFailed):
            file.advance(connection)
        with pytest.raises(StorageFailed):
            file.check()


@pytest.mark.usefixtures("quick_generations")
async def test_maintenance_of_a_file_in_use_is_no_replacement(path: Path, database: Database) -> None:
    other = open_database(f"sqlite:///{path}")
    for _ in range(3):
        await stored.store(database, web_message())
        await stored.store(other, web_message())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        touch(path)
        await database.check_health()
        await other.check_health()
    await other.close()
    await stored.store(database, web_message())


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
    """As `cp` does."""
    content = backup.read_bytes()
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content)
