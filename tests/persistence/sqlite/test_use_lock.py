"""The lock that programs share, and that a restore holds alone."""

import os
import threading
from pathlib import Path

import pytest

from domain.errors import StorageFailed
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.sqlite import use_lock
from persistence.sqlite.use_lock import UseLock
from persistence.work import long_read, short_read

pytestmark = pytest.mark.anyio


def can_exclude(path: Path) -> bool:
    try:
        with UseLock(path).exclude():
            return True
    except DatabaseUnusable:
        return False


def test_programs_share_the_lock(path: Path) -> None:
    one, two = UseLock(path), UseLock(path)
    one.share()
    two.share()
    one.share()
    assert not can_exclude(path)
    one.release()
    assert not can_exclude(path)
    two.release()
    assert can_exclude(path)
    two.release()


def test_lock_is_the_same_through_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    lock = UseLock(tmp_path / "link.db")
    lock.share()
    assert not can_exclude(path)
    lock.release()


@pytest.mark.parametrize("work", [short_read, long_read])
async def test_database_holds_the_lock_from_its_first_connection_until_it_is_closed(path: Path, work) -> None:
    database = open_database(f"sqlite:///{path}")
    assert can_exclude(path)
    await database.read(work(lambda _connection: None))
    assert not can_exclude(path)
    await database.close()
    assert can_exclude(path)


async def test_database_holds_the_lock_after_a_migration(path: Path, database: Database) -> None:
    await database.migrate()
    assert not can_exclude(path)


def test_lock_of_a_killed_program_is_released(path: Path) -> None:
    """A fork has its own lock if it opens the database itself, as processes of `serve` do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        UseLock(path).share()
        os.write(writing, b"\0")
        threading.Event().wait()
    os.read(reading, 1)
    assert not can_exclude(path)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert can_exclude(path)
    for each in (reading, writing):
        os.close(each)


def test_program_waits_until_the_restore_ends(path: Path) -> None:
    lock = UseLock(path)
    with UseLock(path).exclude():
        waiting = threading.Thread(target=lock.share)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert not can_exclude(path)
    lock.release()


async def test_program_fails_if_the_restore_does_not_end(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_lock, "WAIT_SECONDS", 0.0)
    with UseLock(path).exclude():
        for _ in range(2):
            with pytest.raises(StorageFailed) as caught:
                await database.check_version()
            assert "is being restored" in caught.value.explanation
    await database.check_version()


def test_folder_without_a_lock_is_no_obstacle_if_it_is_read_only(tmp_path: Path) -> None:
    """Then SQLite reports that it cannot write."""
    lock = UseLock(tmp_path / "missing" / "test.db")
    lock.share()
    lock.release()


def obstruct(lock: Path) -> None:
    # Root may open the files of other users, but no link to itself.
    lock.symlink_to(lock)


async def test_lock_that_cannot_be_opened_is_an_error(path: Path, database: Database) -> None:
    obstruct(Path(f"{path}.use.lock"))
    with pytest.raises(OSError, match="symbolic links"), UseLock(path).exclude():
        raise AssertionError
    with pytest.raises(StorageFailed) as caught:
        await database.check_version()
    assert "symbolic links" in caught.value.explanation
