"""Delete messages by a filter in a process that is killed at a line, once for each line that deletes and counts.

Run as a program by `commands/test_web_messages_deletion.py`, with settings in the environment. A later run of any kind
records what killed ones have deleted. Prints the number of killed processes.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from datetime import timedelta

from budkavle import clock, retention
from budkavle.commands import web_messages_deletion
from budkavle.settings import Settings
from domain.audit import WEB_MESSAGES
from domain.retention import MessageSelection, RemovalRun
from persistence import audit, removal_counts
from persistence import retention as stored_retention
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from tests.databases import run_with_database
from tests.factories import NOW, build_web_message
from tests.line_killer import Killer
from tests.persistence.rows import count_rows

WATCHED = {module.__file__ for module in (removal_counts, retention, stored_retention, web_messages_deletion)}


async def put(database: Database) -> None:
    """Store an old message for a process."""
    await stored.store(database, build_web_message(created=NOW))


async def delete(database: Database, killer: Killer) -> None:
    threading.settrace(killer.trace)
    sys.settrace(killer.trace)
    await web_messages_deletion.delete_selected(database, MessageSelection(NOW + timedelta(days=1)), "Åsa")
    sys.settrace(None)


async def check(database: Database, number: int) -> None:
    """Compare the numbers in the audit with the messages that are missing, after another run, and store a message.

    `number` messages were stored. Each run that began has also ended in the audit.
    """
    moment = clock.now() + 2 * removal_counts.ABANDONED_AFTER
    await removal_counts.record(database, RemovalRun(moment))
    rows = await count_rows(database)
    assert "removal_counts" not in rows
    entries = [each.entry for _, each in await audit.list_page(database, after=0, limit=1000, chain=WEB_MESSAGES)]
    began, ended = (
        {each.request_id: each.detail for each in entries if each.outcome == outcome}
        for outcome in ("begun", "deleted")
    )
    assert began.keys() == ended.keys()
    assert len(entries) == len(began) + len(ended)
    assert all(began[id_] | {"messages": detail["messages"]} == detail for id_, detail in ended.items())
    recorded = sum(detail["messages"] for detail in ended.values())
    assert recorded == number - rows.get("web_messages", 0), (number, recorded)
    await put(database)


def main() -> None:
    url = Settings().database_url.get_secret_value()
    gc.freeze()
    number, status = 0, int(signal.SIGKILL)
    run_with_database(url, put)
    while status == signal.SIGKILL:
        number += 1
        child = os.fork()
        if child == 0:
            asyncio.run(delete(open_database(url), Killer(number, WATCHED)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        run_with_database(url, lambda database: check(database, number))  # noqa: B023  # It runs at once.
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
