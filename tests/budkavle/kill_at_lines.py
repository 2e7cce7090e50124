"""Post a message by key in a process that is killed at a line, once for each line that a post executes.

Run as a program by `test_service_killed.py`, with settings in the environment. Each post has a key, a party and a case
of its own, which are its number; nothing kills post 0. Prints the number of killed processes.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from budkavle.audit_keys import open_configured_database
from budkavle.service import create_service
from budkavle.settings import Settings
from domain.api_keys import ApiKey, hash_key
from tests.factories import NOW, build_case_body, build_message_body
from tests.line_killer import Killer
from tests.waiting import block_until

ROOT = Path(__file__).parents[2]
WATCHED = {
    str(ROOT / path)
    for path in (
        "handlers/web_messages.py",
        "handlers/publications/creation.py",
        "handlers/publications/idempotency_keys.py",
        "handlers/publications/outcomes.py",
        "persistence/idempotency_keys.py",
        "persistence/web_message_inserts.py",
        "persistence/web_messages.py",
        "open_e/client.py",
    )
}
FIRST_CASE = 1000


def build_body(kind: str, number: int) -> dict[str, Any]:
    """Return the body of a post, which is different for each number."""
    party_id = f"81471222-5798-11e9-ae24-{number:012x}"
    return (
        build_case_body(FIRST_CASE + number, partyId=party_id)
        if kind == "to a case"
        else build_message_body(partyId=party_id)
    )


async def prepare(application: Any) -> None:
    """Let the service prepare its operations, with a request that needs no database."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
        response = await client.get("/unknown")
        assert response.status_code == 404, response.text
    # A child of fork has one thread, so those of the service that warmed up must have ended.
    gc.collect()
    block_until(lambda: threading.active_count() == 1)


async def warm_up(kind: str, key: ApiKey) -> None:
    """Post with another service, so that the processes need not import modules and compile statements each."""
    database = open_configured_database(Settings())
    await post(create_service(Settings(), database, extra_keys=(key,)), kind, 0)
    await database.close()


async def post(application: Any, kind: str, number: int) -> None:
    killer = Killer(number or sys.maxsize, WATCHED)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        headers = {"apikey": "key", "Idempotency-Key": str(number)}
        threading.settrace(killer.trace)
        sys.settrace(killer.trace)
        response = await client.post("/webmessages", json=build_body(kind, number), headers=headers)
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        assert response.status_code == 201, response.text


def main() -> None:
    kind = sys.argv[1]
    key = ApiKey(hash_key(b"key"), "tests", ("messages",), NOW)
    asyncio.run(warm_up(kind, key))
    application = create_service(Settings(), extra_keys=(key,))
    asyncio.run(prepare(application))
    gc.freeze()
    number = 0
    while True:
        number += 1
        child = os.fork()
        if child == 0:
            asyncio.run(post(application, kind, number))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            break
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
