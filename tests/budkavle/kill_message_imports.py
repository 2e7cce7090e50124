"""Import messages in processes, each of which is killed at another line, until one has executed all lines.

Run as a program by `commands/test_message_imports_killed.py` with the URL of the other service, whose messages have no
text, and a file for remarks; settings are in the environment. The processes must leave the same rows as an import that
was not killed, and a remark about each message. Prints their number.
"""

import asyncio
import gc
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from budkavle.clock import now
from budkavle.message_imports import run
from budkavle.message_imports.web_message_sender import open_web_message_sender, parse_address
from budkavle.settings import Settings
from domain.message_imports import ImportRules, Remark
from persistence import message_imports as imports
from persistence.database import Database
from persistence.opening import open_database
from persistence.tables import imported_messages, metadata, web_messages
from persistence.work import bulk_write, short_read
from tests.line_killer import Killer

ROOT = Path(__file__).parents[2]
STORING = str(ROOT / "persistence" / "message_imports.py")
RUNNING = str(ROOT / "budkavle" / "message_imports" / "run.py")
"""Its lines are watched on SQLite only: each is a process."""

TABLES = ("imported_messages", "web_message_attachments", "web_message_references", "web_messages")


def report(remarks: Sequence[Remark]) -> None:
    with Path(sys.argv[2]).open("a") as file:
        file.writelines(f"{remark.message_id}\n" for remark in remarks)


async def import_all(url: str, source_url: str) -> None:
    database = open_database(url)
    options = run.ImportOptions(ImportRules(ZoneInfo("UTC")), "web-message-sender", "tests", deletes=True)
    with open_web_message_sender(parse_address(source_url)) as source:
        summary = await run.MessageImport(database, source, options, report, lambda *_: None).run("tests", now)
    assert summary.rejected == 0
    await database.close()


def hash_rows(connection: sa.Connection) -> str:
    digest = hashlib.sha256()
    for name in TABLES:
        for row in sorted(map(repr, connection.execute(metadata.tables[name].select()))):
            digest.update(f"{name} {row}\n".encode())
    return digest.hexdigest()


def empty(connection: sa.Connection) -> None:
    connection.execute(web_messages.delete())
    connection.execute(imported_messages.delete())


async def with_database(url: str, work: Callable[[Database], Any]) -> Any:
    database = open_database(url)
    try:
        return await work(database)
    finally:
        await database.close()


def run_child(work: Callable[[], object]) -> int:
    """Return the status of a process that does the work."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def import_until(url: str, source_url: str, place: int) -> None:
    killer = Killer(place, {STORING, RUNNING} if url.startswith("sqlite") else {STORING})
    threading.settrace(killer.trace)
    sys.settrace(killer.trace)
    asyncio.run(import_all(url, source_url))
    sys.settrace(None)


async def import_unkilled(database: Database, url: str, source_url: str) -> str:
    """Return the hash of the rows that an import stores, and delete them."""
    await import_all(url, source_url)
    stored: str = await database.read(short_read(hash_rows))
    await database.write(bulk_write(empty))
    return stored


def main() -> None:
    source_url, url = sys.argv[1], Settings().database_url.get_secret_value()
    # Several pages of several groups.
    run.PAGE, run.GROUP_MESSAGES = 3, 1
    # The processes then need not import modules and compile statements each.
    expected = asyncio.run(with_database(url, lambda database: import_unkilled(database, url, source_url)))
    Path(sys.argv[2]).unlink()
    gc.freeze()
    place, status = 0, int(signal.SIGKILL)
    while status == signal.SIGKILL:
        place += 1
        status = run_child(lambda: import_until(url, source_url, place))  # noqa: B023  # It runs at once.
    assert status == 0, status

    reported = set(Path(sys.argv[2]).read_text().split())

    async def compare(database: Database) -> None:
        ids = set(await imports.list_present(database, "web-message-sender", imports.FIRST_ID, 1000))
        assert ids == reported
        assert await database.read(short_read(hash_rows)) == expected

    asyncio.run(with_database(url, compare))
    sys.stdout.write(f"{place - 1}\n")


if __name__ == "__main__":
    main()
