"""Backups of a SQLite file that is in use, and their restoration."""

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from domain.errors import StorageFailed
from persistence import schema
from persistence import web_messages as stored
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.sqlite import backups
from persistence.sqlite.backups import restore_backup, write_backup
from persistence.tables import web_messages
from tests.factories import NOW, build_attachment, build_web_message
from tests.persistence.queues import list_rows
from tests.persistence.rows import execute
from tests.persistence.test_schema import copy_migrations_before
from tests.processes import run_program

pytestmark = pytest.mark.anyio

HEADER = 100
"""Bytes of the header of a SQLite file."""


def share(path: Path) -> None:
    """Let the group read a file."""
    path.chmod(0o640)


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def list_names(folder: Path) -> set[str]:
    """Return the names of files, without those of locks, which remain."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


async def store_messages(database: Database, number: int = 3) -> list[str]:
    messages = [build_web_message(attachments=(build_attachment(),)) for _ in range(number)]
    for message in messages:
        await stored.store(database, message)
    return [message.id for message in messages]


async def read_ids(path: Path, ids: list[str]) -> list[str]:
    """Return those of the messages that a database has."""
    database = open_database(f"sqlite:///{path}")
    try:
        found = {row["id"] for row in await list_rows(database, web_messages)}
        return [id_ for id_ in ids if id_ in found]
    finally:
        await database.close()


async def test_backup_of_an_open_database_is_one_private_file(path: Path, database: Database, tmp_path: Path) -> None:
    ids = await store_messages(database)
    (tmp_path / "backups").mkdir()
    target = tmp_path / "backups" / "budkavle å 100%.db"
    old = os.umask(0)
    try:
        written = write_backup(path, target, may_replace=False)
    finally:
        os.umask(old)
    assert list_names(target.parent) == {target.name}
    assert get_mode(target) == 0o600
    assert written.size == target.stat().st_size
    assert await read_ids(target, ids) == ids


async def test_backup_shows_one_moment_while_another_connection_writes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step meets a write that would begin the copy again, or change a part of it."""
    monkeypatch.setattr(backups, "PAGES", 4)
    writes = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("create table pairs (number)")

        class Reader(sqlite3.Connection):
            def backup(self, *arguments, **options) -> None:
                def write(*_: int) -> None:
                    nonlocal writes
                    writes += 1
                    assert writes < 1000, "the copy begins again after each write"
                    writer.execute("insert into pairs values (?), (?)", (writes, writes))

                super().backup(*arguments, **options | {"progress": write})

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, **{"factory": Reader, **o}))
        write_backup(path, tmp_path / "copy.db", may_replace=False)
        monkeypatch.undo()
        assert writes > 5
        assert writer.execute("select count(*) from pairs").fetchone() == (2 * writes,)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("select count(*) from pairs").fetchone() == (0,)


async def test_backup_replaces_a_file_only_if_permitted(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("the backup of yesterday")
    before = list_names(tmp_path)
    with pytest.raises(DatabaseUnusable, match="--force"):
        write_backup(path, target, may_replace=False)
    assert target.read_text() == "the backup of yesterday"
    write_backup(path, target, may_replace=True)
    assert await read_ids(target, ["x"]) == []
    assert list_names(tmp_path) == before


@pytest.mark.parametrize("may_replace", [True, False])
def test_backup_never_replaces_the_database_or_a_folder(path: Path, tmp_path: Path, *, may_replace: bool) -> None:
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "folder").mkdir()
    for target in (path, tmp_path / "link.db", tmp_path / "folder"):
        with pytest.raises(DatabaseUnusable):
            write_backup(path, target, may_replace=may_replace)


def test_backup_into_a_missing_folder_is_one_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match=r"cannot write .*: No such file or directory"):
        write_backup(path, tmp_path / "missing" / "copy.db", may_replace=False)


async def test_backup_of_a_database_of_an_earlier_version(path: Path, database: Database, tmp_path: Path) -> None:
    await execute(database, "update alembic_version set version_num = '0003'")
    assert write_backup(path, tmp_path / "copy.db", may_replace=False).revision == "0003"


def damage(path: Path) -> None:
    """Overwrite a page in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def test_backup_of_a_damaged_database_is_refused(path: Path, tmp_path: Path) -> None:
    damage(path)
    with pytest.raises(DatabaseUnusable, match=r"damaged|malformed"):
        write_backup(path, tmp_path / "copy.db", may_replace=False)
    assert "copy.db" not in list_names(tmp_path)


async def test_backup_of_a_file_that_is_replaced_meanwhile_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = backups.copy_database

    def copy_and_replace(*arguments, **options) -> backups.Backup:
        written = copy(*arguments, **options)
        shutil.copy(path, tmp_path / "other.db")
        (tmp_path / "other.db").rename(path)
        return written

    monkeypatch.setattr(backups, "copy_database", copy_and_replace)
    with pytest.raises(StorageFailed) as caught:
        write_backup(path, tmp_path / "copy.db", may_replace=False)
    assert caught.value.reason == "file replaced"
    assert "copy.db" not in list_names(tmp_path)


async def back_up_and_store_more(path: Path, target: Path) -> tuple[list[str], list[str]]:
    """Return the ids of the messages that are in the backup, and of those stored afterwards."""
    database = open_database(f"sqlite:///{path}")
    ids = await store_messages(database)
    write_backup(path, target, may_replace=False)
    later = await store_messages(database)
    await database.close()
    return ids, later


async def test_restore_replaces_the_database_and_keeps_the_former_one(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    share(path)
    _, kept = restore_backup(backup, path, NOW)
    assert list_names(tmp_path) == {path.name, backup.name, kept.name}
    assert get_mode(path) == 0o640
    assert await read_ids(path, [*ids, *later]) == ids
    assert await read_ids(kept, [*ids, *later]) == [*ids, *later]
    assert await read_ids(backup, [*ids, *later]) == ids


async def test_restore_keeps_changes_of_killed_programs_with_the_former_database(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    database = open_database(f"sqlite:///{path}")
    ids = await store_messages(database)
    write_backup(path, backup, may_replace=False)
    later = await store_messages(database)
    # The files of a killed program.
    (killed := tmp_path / "killed").mkdir()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{suffix}", killed / f"test.db{suffix}")
    await database.close()
    _, kept = restore_backup(backup, killed / "test.db", NOW)
    assert list_names(killed) == {"test.db", *(f"{kept.name}{suffix}" for suffix in ("", "-wal", "-shm"))}
    assert await read_ids(killed / "test.db", [*ids, *later]) == ids
    assert await read_ids(kept, [*ids, *later]) == [*ids, *later]


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    path.write_text("This is not a database.\n" * 1000)


def break_database(path: Path, break_file: Callable[[Path], None], *, has_log: bool) -> dict[str, bytes]:
    """Return the names and contents of the files that remain."""
    if has_log:
        Path(f"{path}-wal").write_bytes(b"the log of another database" * 1000)
    break_file(path)
    return {name: (path.parent / name).read_bytes() for name in list_names(path.parent) if name.startswith(path.name)}


@pytest.mark.parametrize("break_file", [remove, empty, overwrite, damage])
@pytest.mark.parametrize("has_log", [True, False])
async def test_restore_replaces_a_database_that_is_missing_or_damaged(
    path: Path, tmp_path: Path, break_file: Callable[[Path], None], *, has_log: bool
) -> None:
    backup = tmp_path / "copy.db"
    ids, _ = await back_up_and_store_more(path, backup)
    before = break_database(path, break_file, has_log=has_log)
    _, kept = restore_backup(backup, path, NOW)
    assert (kept is None) == (before == {})
    for name, content in before.items():
        # SQLite may have changed the header, since the kept file needs no log.
        assert kept.with_name(name.replace(path.name, kept.name)).read_bytes()[HEADER:] == content[HEADER:]
    assert await read_ids(path, ids) == ids


async def test_restore_into_a_missing_folder(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    ids, _ = await back_up_and_store_more(path, backup)
    assert restore_backup(backup, tmp_path / "new" / "test.db", NOW)[1] is None
    assert get_mode(tmp_path / "new" / "test.db") == 0o600
    assert await read_ids(tmp_path / "new" / "test.db", ids) == ids


async def test_restore_reaches_the_database_through_a_link(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    (tmp_path / "link.db").symlink_to(path)
    restore_backup(backup, tmp_path / "link.db", NOW)
    assert (tmp_path / "link.db").is_symlink()
    assert await read_ids(path, [*ids, *later]) == ids


async def test_restored_database_is_used_with_its_former_owner(path: Path, tmp_path: Path) -> None:
    """Root restores what another user owns."""
    if os.geteuid() != 0:
        return
    backup = tmp_path / "copy.db"
    await back_up_and_store_more(path, backup)
    os.chown(path, 4321, 4322)
    restore_backup(backup, path, NOW)
    assert [(each.stat().st_uid, each.stat().st_gid) for each in (path, Path(f"{path}.use.lock"))] == [
        (4321, 4322),
        (4321, 4322),
    ]


async def change_version(path: Path, version: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update alembic_version set version_num = ?", (version,))
        connection.commit()


async def test_restored_database_of_an_earlier_version_is_migrated_by_the_next_program(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "copy.db"
    old = tmp_path / "old.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", copy_migrations_before("0014", tmp_path))
        database = open_database(f"sqlite:///{old}")
        await database.migrate()
        await database.close()
    assert write_backup(old, backup, may_replace=False).revision == "0013"
    assert restore_backup(backup, path, NOW)[0].revision == "0013"
    database = open_database(f"sqlite:///{path}")
    await database.migrate()
    await database.check_version()
    await database.close()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, "there is no file"),
        (empty, "has no tables of this program"),
        (overwrite, "SQLITE_NOTADB"),
        (damage, "damaged|malformed"),
    ],
)
async def test_restore_refuses_an_unusable_backup(
    path: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    spoil(backup)
    before = list_names(tmp_path)
    with pytest.raises(DatabaseUnusable, match=message):
        restore_backup(backup, path, NOW)
    assert list_names(tmp_path) == before
    assert await read_ids(path, [*ids, *later]) == [*ids, *later]


async def test_restore_refuses_a_backup_of_a_later_version(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    await change_version(backup, "9999")
    with pytest.raises(DatabaseUnusable, match="at version 9999, which is later"):
        restore_backup(backup, path, NOW)
    assert await read_ids(path, [*ids, *later]) == [*ids, *later]


async def test_restore_refuses_the_database_itself(path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="is the database itself"):
        restore_backup(path, path, NOW)


async def test_restore_refuses_while_a_program_has_the_database_open(
    path: Path, database: Database, tmp_path: Path
) -> None:
    ids = await store_messages(database)
    backup = tmp_path / "copy.db"
    write_backup(path, backup, may_replace=False)
    later = await store_messages(database)
    with pytest.raises(DatabaseUnusable, match=r"a program has .* open: stop all programs"):
        restore_backup(backup, path, NOW)
    assert await read_ids(path, [*ids, *later]) == [*ids, *later]


async def test_restore_refuses_while_a_program_of_others_has_the_database_open(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("select count(*) from web_messages").fetchone()
        with pytest.raises(DatabaseUnusable, match="another program has"):
            restore_backup(backup, path, NOW)
    assert await read_ids(path, [*ids, *later]) == [*ids, *later]


async def test_database_that_is_opened_during_a_restore_is_the_restored_one(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that opened the former file would write a log next to the new one."""
    backup = tmp_path / "copy.db"
    ids, later = await back_up_and_store_more(path, backup)
    opened: list[list[str]] = []

    async def start() -> None:
        database = open_database(f"sqlite:///{path}")
        await database.migrate()
        await database.close()
        opened.append(await read_ids(path, [*ids, *later]))

    thread = threading.Thread(target=lambda: asyncio.run(start()))
    prepare = backups._prepare

    def start_and_prepare(new: Path, former: Path) -> None:
        thread.start()
        prepare(new, former)

    monkeypatch.setattr(backups, "_prepare", start_and_prepare)
    restore_backup(backup, path, NOW)
    thread.join(60)
    assert opened == [ids]


def test_restore_that_is_killed_at_any_line_leaves_the_former_or_the_restored_database(tmp_path: Path) -> None:
    killed = run_program(sys.executable, "-m", "tests.persistence.sqlite.kill_restore", folder=tmp_path)
    assert killed.returncode == 0, killed.stderr
    assert int(killed.stdout) > 50
