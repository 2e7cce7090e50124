"""Write to a database in a process that is killed at a line, once for each line that copies its log.

Run as a program by `test_write_ahead_log.py`, with the path of a migrated file. Each process adds to the file that the
killed ones have left. Prints the number of killed processes.
"""

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from uuid import UUID

from persistence import web_messages as stored
from persistence.opening import open_database
from persistence.sqlite import file, write_ahead_log
from tests.factories import build_web_message
from tests.line_killer import Killer

WRITES = 16


async def write(path: Path, killer: Killer, stored_ids: int) -> None:
    """Store messages, and write each id to a pipe once it is stored. Copies that are not complete are repeated."""
    database = open_database(f"sqlite:///{path}")
    threading.settrace(killer.trace)
    sys.settrace(killer.trace)
    # A copy is not complete while this connection reads what was there before.
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        await store(database, stored_ids)
        reader.execute("begin")
        reader.execute("select count(*) from web_messages").fetchone()
        for _ in range(WRITES):
            await store(database, stored_ids)
    await database.close()
    sys.settrace(None)


async def store(database: object, stored_ids: int) -> None:
    message = build_web_message()
    await stored.store(database, message)  # type: ignore[arg-type]
    os.write(stored_ids, f"{message.id}\n".encode())


def run_killed(path: Path, place: int, expected: set[str]) -> bool:
    """Return whether the process was killed. Its messages are in the file, and are added to the expected ones."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        watched = {write_ahead_log.__file__, file.__file__}
        asyncio.run(write(path, Killer(place, watched), writing))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stored_ids:
        expected |= set(stored_ids.read().split())
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        found = {str(UUID(id_)) for (id_,) in connection.execute("select id from web_messages")}
    # The last one may be stored without its id in the pipe.
    assert expected <= found, expected - found
    assert len(found - expected) <= 1
    expected |= found
    return status != 0


def main() -> None:
    path = Path(sys.argv[1])
    write_ahead_log.LOG_PAGES = 20
    file.ADVANCE_SECONDS = 0.02
    expected: set[str] = set()
    place = 1
    while run_killed(path, place, expected):
        place += 1
    sys.stdout.write(f"{place - 1}\n")


if __name__ == "__main__":
    main()
