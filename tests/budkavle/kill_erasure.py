"""Erase persons in processes that are killed before and after each transaction, each person in one.

Run as a program by `commands/test_person.py`, with settings in the environment. Prints the number of killed processes.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import Any

from budkavle.clock import now
from budkavle.person_erasure import PersonErasure
from budkavle.settings import Settings
from domain.web_messages import ExternalReference
from persistence import web_messages
from persistence.database import Database
from persistence.opening import open_database
from tests.factories import build_attachment, build_web_message
from tests.persistence.queues import publish


def build_party_id(number: int) -> str:
    return f"81471222-5798-11e9-ae24-{number:012x}"


async def put(database: Database, party_id: str) -> None:
    """Store two messages, one of them in doubt, and an event."""
    message = build_web_message(party_id=party_id, attachments=(build_attachment(),))
    await web_messages.store(database, message)
    await publish(database, external_id=message.id)
    case = (ExternalReference("flowInstanceId", "7"),)
    unknown = build_web_message(party_id=party_id, external_references=case, created=None)
    await web_messages.begin_sending(database, unknown, now())
    await web_messages.mark_unknown(database, unknown.id)


async def erase(url: str, number: int) -> None:
    """Erase a person, and kill this process at the place with this number: an odd one is before a transaction."""
    database = open_database(url)
    party_id = build_party_id(number)
    await put(database, party_id)
    write, places = database.write, 0

    async def write_or_die(*arguments: Any) -> Any:
        nonlocal places
        for is_before in (True, False):
            places += 1
            if places == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if is_before:
                result = await write(*arguments)
        return result

    database.write = write_or_die  # type: ignore[method-assign]
    await PersonErasure(database, party_id, "tests", now, timedelta()).run()
    await database.close()


def main() -> None:
    url = Settings().database_url.get_secret_value()
    number, status = 0, int(signal.SIGKILL)
    while status == signal.SIGKILL:
        number += 1
        child = os.fork()
        if child == 0:
            asyncio.run(erase(url, number))
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
