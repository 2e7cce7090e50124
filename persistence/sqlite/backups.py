"""Back up a SQLite database while it is used, and restore it."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from persistence import schema
from persistence.database import DatabaseUnusable
from persistence.sqlite.file import SqliteFile
from persistence.sqlite.use_lock import UseLock, give_to_owner

Report = Callable[[int, int], None]

PAGES = 1024
"""Pages that are copied between two points at which the copy can be interrupted."""

BUSY_SECONDS = 20.0

COMPANIONS = ("-wal", "-shm", "-journal")
"""Endings of the files next to a database that belong to its content."""


def _ignore(_done: int, _total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Backup:
    """A checked copy: its size in bytes, and the version of its tables."""

    size: int
    revision: str


def write_backup(database: Path, target: Path, *, may_replace: bool, report: Report = _ignore) -> Backup:
    """Write a consistent copy of a database that may be in use to `target`, which then is complete or absent.

    Readers and writers continue meanwhile. The copy is one file without a log, readable by its owner only. Raises
    `DatabaseUnusable`, also if `target` exists without `may_replace`.
    """
    _check_target(target, database, may_replace=may_replace)
    lock, file = UseLock(database), SqliteFile(database)
    with _file_errors(f"cannot write {target}"), _staging_folder(target, "backup") as folder:
        lock.share()
        try:
            file.open()
            file.check()
            copied = copy_database(database, folder / "copy", is_in_use=True, report=report)
            # Copying the database by other means may have replaced its file meanwhile.
            file.check()
        finally:
            lock.release()
        _check_target(target, database, may_replace=may_replace)
        (folder / "copy").replace(target)
        _flush(target.parent)
    return copied


def restore_backup(backup: Path, database: Path, now: datetime, report: Report = _ignore) -> tuple[Backup, Path | None]:
    """Replace a database that no program uses by a backup. Return the backup, and the path of the former database.

    If the process is killed at any point, the database is either the former or the restored one. Raises
    `DatabaseUnusable` if a program uses the database, or if the backup is damaged or of a later version.
    """
    path = database.resolve()
    if not backup.is_file():
        raise DatabaseUnusable(f"there is no file {backup}")
    if path.exists() and backup.samefile(path):
        raise DatabaseUnusable(f"{backup} is the database itself")
    with _file_errors(f"cannot replace {database}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with UseLock(path).exclude():
            # A killed restore leaves its folder.
            for left in path.parent.glob(f".{path.name}.restore-*"):
                shutil.rmtree(left)
            with _staging_folder(path, "restore") as folder:
                new = folder / "copy"
                restored = copy_database(backup, new, is_in_use=False, report=report)
                schema.refuse_later(restored.revision)
                _prepare(new, path)
                return restored, _replace(path, new, now)


def copy_database(source: Path, copy: Path, *, is_in_use: bool, report: Report = _ignore) -> Backup:
    """Copy a database into a new file without a log, check the copy and flush it to the disk.

    Without `is_in_use`, the source may be on a medium that is read-only. `report` is called with the number of copied
    pages and that of all. Raises `DatabaseUnusable`.
    """
    # A file without a log can be read where SQLite cannot create files next to it.
    is_complete = not is_in_use and not any(_find_companions(source))
    mode = "mode=ro&immutable=1" if is_complete else "mode=rw" if is_in_use else "mode=ro"
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        _sqlite_errors(f"cannot copy {source}"),
        closing(_connect(source, mode)) as reader,
        closing(sqlite3.connect(copy, isolation_level=None)) as writer,
    ):
        # The copy is flushed once, when it is complete.
        writer.execute("PRAGMA synchronous=OFF")
        # Within a transaction the copy shows one moment. Otherwise it would begin again after each write.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        # Python handles signals only between two steps.
        reader.backup(writer, pages=PAGES, progress=lambda _, left, total: report(total - left, total))
        reader.execute("COMMIT")
        writer.execute("PRAGMA journal_mode=DELETE")
        revision = _check_content(writer, source)
    _flush(copy)
    return Backup(copy.stat().st_size, revision)


def _check_target(target: Path, database: Path, *, may_replace: bool) -> None:
    if target.is_dir():
        raise DatabaseUnusable(f"{target} is a folder: give the name of a file")
    if not target.exists():
        return
    if target.samefile(database):
        raise DatabaseUnusable(f"{target} is the database itself")
    if not may_replace:
        raise DatabaseUnusable(f"{target} exists: give another name, or --force to replace it")


def _check_content(connection: sqlite3.Connection, source: Path) -> str:
    """Return the version of the tables. Raises `DatabaseUnusable` for a damaged database, or one of another program."""
    for check in ("integrity_check(1)", "foreign_key_check"):
        found = connection.execute(f"PRAGMA {check}").fetchone()
        if found is not None and found != ("ok",):
            raise DatabaseUnusable(f"{source} is damaged: {check.partition('(')[0]} reports {found[0]}")
    has_version = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    version = None
    if connection.execute(has_version).fetchone()[0]:
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if version is None:
        raise DatabaseUnusable(f"{source} has no tables of this program")
    return str(version[0])


def _prepare(new: Path, path: Path) -> None:
    """Give a new file the log, mode and owner of the database that it replaces, and flush it."""
    with _sqlite_errors(f"cannot prepare {new}"), closing(sqlite3.connect(new, isolation_level=None)) as connection:
        # With a log from the beginning, programs that start at once need not wait for each other.
        connection.execute("PRAGMA journal_mode=WAL")
    if path.exists():
        new.chmod(path.stat().st_mode)
    give_to_owner(new, path)
    _flush(new)


def _replace(path: Path, new: Path, now: datetime) -> Path | None:
    """Give the former database another name, and the new one its name. Return the other name.

    A log must never be next to a database to which it does not belong: SQLite would apply it. So the changes in the log
    are moved into the former file first, and the log is removed before the new file replaces the former one.
    """
    companions = list(_find_companions(path))
    files = [*([""] if path.exists() else []), *companions]
    kept = path.with_name(f"{path.name}.replaced-{now:%Y%m%dT%H%M%S%f}") if files else None
    if companions:
        # Programs were killed. Keep the files as they are, because moving the changes may fail.
        for suffix in files:
            _copy_file(Path(f"{path}{suffix}"), Path(f"{kept}{suffix}"))
    with _closed_to_others(path):
        if kept is not None and not companions:
            kept.hardlink_to(path)
        _flush(path.parent)
        for suffix in COMPANIONS:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        _flush(path.parent)
        new.replace(path)
        _flush(path.parent)
    return kept


@contextmanager
def _closed_to_others(path: Path) -> Iterator[None]:
    """Move all changes of the log into the file, and hold the locks of SQLite, which programs of others observe too.

    A file that is empty, damaged or not a database is left as it is. Raises `DatabaseUnusable` if another program has
    the file open.
    """
    if not path.exists() or path.stat().st_size == 0:
        yield
        return
    with _sqlite_errors(f"cannot close {path} to other programs"), closing(_connect(path, "mode=rw", 0)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise DatabaseUnusable(
                    f"another program has {path} open: stop all programs that use it, then repeat this command"
                ) from exc
            if exc.sqlite_errorcode not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
        yield


def _find_companions(path: Path) -> Iterator[str]:
    for suffix in COMPANIONS:
        companion = Path(f"{path}{suffix}")
        if companion.exists() and companion.stat().st_size:
            yield suffix


def _connect(path: Path, mode: str, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


def _copy_file(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    give_to_owner(target, source)
    _flush(target)


def _flush(path: Path) -> None:
    """Write a file or the names in a folder to the disk. SQLite must not have the file open in this process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _staging_folder(target: Path, purpose: str) -> Iterator[Path]:
    """Yield a private folder on the file system of a target, and remove it with its content."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.{purpose}-", dir=target.parent) as folder:
        yield Path(folder)


@contextmanager
def _file_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise DatabaseUnusable(f"{action}: {exc.strerror} ({exc.filename})") from exc


@contextmanager
def _sqlite_errors(action: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise DatabaseUnusable(f"{action}: {exc} ({getattr(exc, 'sqlite_errorname', 'unknown')})") from exc
