"""Send an event to the operator in a process that is killed at a line, once for each line that sending executes.

Run as a program by `test_operator_events_killed.py`, with the URLs of the database and of the operator. The event of a
process has the system of its number; nothing kills process 0, which is this one. Prints the number of killed processes.
"""

import gc
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from budkavle.ids import create_id
from budkavle.operator_events import OperatorEvents
from delivery.operator_webhook import OperatorClient
from persistence import failing_systems
from persistence.database import Database
from tests.databases import run_with_database
from tests.factories import NOW
from tests.line_killer import Killer

ROOT = Path(__file__).parents[2]
WATCHED = {str(ROOT / path) for path in ("budkavle/operator_events.py", "delivery/operator_webhook.py")}


def build_system_id(number: int) -> str:
    return str(UUID(int=number))


async def report(database: Database, number: int) -> None:
    await failing_systems.report_failing(database, {build_system_id(number): NOW}, NOW, create_id)


async def send(database: Database, operator_url: str, place: int) -> None:
    client = OperatorClient(operator_url, "env:OPERATOR_SECRET", ca=None, allow_private=True)
    events = OperatorEvents(database, client, {}, timedelta(minutes=15), lambda: NOW)
    sys.settrace(Killer(place, WATCHED).trace)
    sent = await events.run_once()
    sys.settrace(None)
    assert sent == 1


def main() -> None:
    database_url, operator_url = sys.argv[1:]

    async def warm_up(database: Database) -> None:
        """Send an event here first, so that the processes need not import modules and compile statements each."""
        await report(database, 0)
        await send(database, operator_url, sys.maxsize)

    run_with_database(database_url, warm_up)
    gc.freeze()
    number = 0
    while True:
        number += 1
        run_with_database(database_url, lambda database: report(database, number))  # noqa: B023  # It runs at once.
        child = os.fork()
        if child == 0:
            run_with_database(database_url, lambda database: send(database, operator_url, number))  # noqa: B023
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            break
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
