"""Restore a database in a process that is killed at a line, once for each line that a restore executes.

Run as a program by `test_backups.py`, in an empty folder. Prints the number of killed processes.
"""

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from persistence.sqlite import backups
from tests.factories import NOW
from tests.line_killer import Killer

ROWS = 1000
"""Rows of each database: enough for several pages, so that a mixture of two databases is visible."""


def write_database(path: Path, text: str) -> sqlite3.Connection:
    """Write a database whose rows all have the same text. Half of them are in its log until it is closed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.executescript("create table alembic_version (version_num); insert into alembic_version values ('0001')")
    connection.execute("create table rows (text)")
    for _ in range(2):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN")
        connection.executemany("insert into rows values (?)", [(text * 50,)] * (ROWS // 2))
        connection.execute("COMMIT")
    return connection


def read_database(path: Path) -> str:
    """Return the text of all rows."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        (found,) = connection.execute("select text, count(*) from rows group by text").fetchall()
    assert found[1] == ROWS
    return str(found[0])[:3]


def restore(folder: Path, place: int) -> None:
    killer = Killer(place, {backups.__file__})
    sys.settrace(killer.trace)
    backups.restore_backup(folder / "backup.db", folder / "service.db", NOW)
    sys.settrace(None)


def run_killed(prepared: Path, place: int) -> tuple[bool, str]:
    """Return whether the restore was killed, and what the database has then."""
    folder = Path("run")
    shutil.copytree(prepared, folder)
    child = os.fork()
    if child == 0:
        restore(folder, place)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    text = read_database(folder / "service.db")
    if text == "new":
        kept = [path for path in folder.glob("service.db.replaced-*") if not path.name.endswith(backups.COMPANIONS)]
        assert [read_database(path) for path in kept] == ["old"]
    # Repeated, it ends.
    backups.restore_backup(folder / "backup.db", folder / "service.db", NOW.replace(microsecond=1))
    assert read_database(folder / "service.db") == "new"
    assert not [path for path in folder.iterdir() if path.is_dir()]
    shutil.rmtree(folder)
    return status != 0, text


def main() -> None:
    closed, killed = Path("closed"), Path("killed")
    closed.mkdir()
    write_database(closed / "backup.db", "new").close()
    with closing(write_database(closed / "service.db", "old")):
        # A copy of both files is what a killed program leaves.
        shutil.copytree(closed, killed, ignore=shutil.ignore_patterns("*-shm"))
    counts = []
    for prepared in (closed, killed):
        texts = []
        while (found := run_killed(prepared, len(texts) + 1))[0]:
            texts.append(found[1])
        # At some line, the new database replaces the old one.
        assert texts == sorted(texts, reverse=True), texts
        assert set(texts) == {"old", "new"}, texts
        assert found[1] == "new"
        counts.append(len(texts))
    sys.stdout.write(f"{min(counts)}\n")


if __name__ == "__main__":
    main()
