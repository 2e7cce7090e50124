"""The file of a database: how it is created, and when a start refuses it."""

import os
import signal
import stat
from pathlib import Path

import pytest

from persistence import web_messages as stored
from persistence.database import DatabaseUnusable
from persistence.opening import open_database
from tests.factories import build_web_message
from tests.persistence.rows import count_rows
from tests.processes import python, running

pytestmark = pytest.mark.anyio


async def test_migrate_creates_the_folder(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/deep/er/100% å.db")
    await database.migrate()
    await stored.store(database, build_web_message())
    await database.close()
    assert (tmp_path / "deep" / "er" / "100% å.db").stat().st_size > 0


def list_modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()]


def list_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def read_content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_files_are_private_and_deleted_bytes_are_overwritten(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "private.db"
        database = open_database(f"sqlite:///{path}")
        await database.migrate()
        message = build_web_message(message="a text that must not stay" * 50)
        await stored.store(database, message)
        async with database.hold_worker_lock(lambda: None):
            modes = list_modes(tmp_path)
            assert len(modes) >= 4
            assert set(modes) == {0o600}
        await stored.delete(database, message.id)
        await database.close()
    finally:
        os.umask(old)
    assert b"a text that must not stay" not in read_content(tmp_path)


async def test_existing_file_keeps_its_mode(tmp_path: Path, migrated_sqlite: bytes) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(migrated_sqlite)
    path.chmod(0o660)
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    await database.close()
    assert 0o660 in list_modes(tmp_path)


def read_files(path: Path) -> dict[str, bytes]:
    files = (path, Path(f"{path}-wal"))
    return {each.name: each.read_bytes() for each in files if each.exists()}


async def check_refused(path: Path, message: str) -> None:
    """Assert that no operation creates a new database there, and that its files do not change."""
    before = read_files(path)
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnusable) as in_migrate:
        await database.migrate()
    with pytest.raises(DatabaseUnusable) as in_check:
        database.check_exists()
    await database.close()
    assert (str(in_migrate.value), str(in_check.value)) == (message, message)
    assert read_files(path) == before


async def check_new(path: Path) -> None:
    """Assert that a new database is created there."""
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    database.check_exists()
    assert await count_rows(database) == {}
    await database.close()
    assert not path.with_name(f"{path.name}.new").exists()


async def test_empty_file_is_refused_until_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    path.touch()
    remedy = f"restore it from a backup, or remove {path} to begin with a new database"
    await check_refused(path, f"the database file {path} is empty: {remedy}")
    path.unlink()
    await check_new(path)


@pytest.mark.parametrize("is_emptied", [True, False])
async def test_wal_without_its_database_is_refused_until_it_is_removed(tmp_path: Path, *, is_emptied: bool) -> None:
    path, log_path = tmp_path / "b.db", tmp_path / "b.db-wal"
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    await stored.store(database, build_web_message())
    changes = log_path.read_bytes()
    await database.close()
    path.unlink()
    # A killed process leaves this.
    log_path.write_bytes(changes)
    if is_emptied:
        path.touch()
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


async def test_killed_first_start_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with running(*python(DIE)) as process:
        process.write_line(f"sqlite:///{path}")
        assert process.wait() == -signal.SIGKILL
    assert list_names(tmp_path) == ["b.db.lock", "b.db.new", "b.db.use.lock"]
    await check_new(path)


async def test_migrate_creates_the_file_of_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (tmp_path / "b.db").symlink_to(folder / "real.db")
    await check_new(tmp_path / "b.db")
    assert (tmp_path / "b.db").is_symlink()
    assert (folder / "real.db").stat().st_size > 0
