"""Remove old data in a process that is killed at a line, once for each line that counts and records what it removes.

Run as a program by `commands/test_purge.py`, with settings in the environment. A later run records what killed ones
have removed: the numbers in the audit are those of the removed rows. Prints the number of killed processes.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections import Counter
from datetime import datetime, timedelta

from budkavle.retention import Purge
from budkavle.settings import Settings, read_settings
from domain.audit import RETENTION
from domain.idempotency_keys import build_first_id
from domain.retention import DataKind, RemovalRun
from handlers.publications.idempotency_keys import ExpiredKeys
from persistence import audit, removal_counts
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from tests.databases import run_with_database
from tests.factories import NOW, build_web_message, idempotency_key
from tests.line_killer import Killer
from tests.persistence.rows import count_rows

TABLES = {DataKind.MESSAGES: "web_messages", DataKind.IDEMPOTENCY_KEYS: "idempotency_keys"}
LIFETIME = timedelta(days=1)
RULES = [rule for rule in read_settings(stored_external_days=1.0).build_retention_rules() if rule.kind in TABLES][:1]


async def put(database: Database, number: int = 0) -> Counter[str]:
    """Store an old message with a key for a process, and return the numbers of rows."""
    message = build_web_message(id=build_first_id(NOW + number * timedelta(milliseconds=1)), created=NOW)
    await stored.store(database, message, idempotency_key(message))
    return Counter(dict.fromkeys(TABLES.values(), 1))


async def remove(database: Database, killer: Killer, moment: datetime) -> None:
    threading.settrace(killer.trace)
    sys.settrace(killer.trace)
    await Purge(database, RULES).run(moment)
    await ExpiredKeys(database, lifetime=LIFETIME, now=lambda: moment).run_once()
    sys.settrace(None)


async def check(database: Database, stored_rows: Counter[str], moment: datetime, number: int) -> Counter[str]:
    """Compare the numbers in the audit with those of the rows that are missing, after a run of `moment`.

    Store rows for the next process, and return their numbers.
    """
    await removal_counts.record(database, RemovalRun(moment))
    rows = Counter(await count_rows(database))
    assert rows["removal_counts"] == 0
    entries = [each.entry.detail for _, each in await audit.list_page(database, after=0, limit=1000, chain=RETENTION)]
    for kind, table in TABLES.items():
        recorded = sum(detail["removed"] for detail in entries if detail["kind"] == kind)
        assert recorded == stored_rows[table] - rows[table], (kind, recorded)
    return await put(database, number)


def main() -> None:
    url = Settings().database_url.get_secret_value()
    gc.freeze()
    number, status, moment = 0, int(signal.SIGKILL), NOW + 10 * LIFETIME
    stored_rows: Counter[str] = run_with_database(url, put)
    while status == signal.SIGKILL:
        number += 1
        child = os.fork()
        if child == 0:
            asyncio.run(remove(open_database(url), Killer(number, {removal_counts.__file__}), moment))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        moment += 2 * removal_counts.ABANDONED_AFTER
        stored_rows += run_with_database(url, lambda database: check(database, stored_rows, moment, number))  # noqa: B023  # It runs at once.
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
