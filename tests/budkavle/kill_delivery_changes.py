"""Replay, drop and test deliveries in a process that is killed at a line, once for each line that this executes.

Run as a program by `commands/test_deliveries_selection.py`, with settings in the environment. After each process, each
change and its audit entry are both present, or neither. Prints the number of killed processes.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from budkavle.clock import now
from budkavle.commands.deliveries_selection import Action, run_action
from budkavle.service import create_service
from budkavle.settings import Settings
from domain.deliveries import DeliveryState, Urgency
from persistence import audit, deliveries, tables
from persistence.database import Database
from persistence.opening import open_database
from tests.budkavle.kill_at_lines import prepare
from tests.budkavle.queues import subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.handlers.callers import create_certificate
from tests.handlers.waiting_deliveries import REPLAY, TEST
from tests.line_killer import Killer
from tests.persistence.queues import list_rows, publish

ROOT = Path(__file__).parents[2]
STORING = str(ROOT / "persistence" / "deliveries.py")
CALLING = (str(ROOT / "budkavle" / "commands" / "deliveries_selection.py"), str(ROOT / "handlers" / "deliveries.py"))
"""Their lines are watched on SQLite only: each is a process."""

OPERATIONS = ("deliveries replay", "deliveries drop", "genfremsendBeskeder")
"""The operations that change a delivery. `sendTestbesked` adds one."""

IDENTITY = {"orgType": 1, "orgCode": 101, "entityType": 202}


async def put(database: Database) -> list[str]:
    """Store a delivery for each operation, and return their ids."""
    ids = []
    for _ in OPERATIONS:
        event = await publish(database)
        [item] = await deliveries.list_of_event(database, event.event_id, 1)
        ids.append(item.id)
    return ids


async def change(database: Database, application: Any, headers: dict[str, str], killer: Killer, ids: list[str]) -> None:
    """Replay and drop a delivery by command, replay one and send a test message by the API.

    `headers` has the id of these requests.
    """
    threading.settrace(killer.trace)
    sys.settrace(killer.trace)
    for id_, name, work in zip(ids, ("replay", "drop"), (deliveries.replay, deliveries.drop), strict=False):
        action = Action(name, "changed", now, headers["x-requestId"], work, "tests")
        assert await run_action(database, action, [id_]) == (1, [])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
        body = {"systemIdentifier": SYSTEM_ID, "leveringIds": ids[-1:]}
        response = await client.post(REPLAY, json=body, headers=headers)
        trial = await client.post(TEST, json={"systemIdentifier": SYSTEM_ID, **IDENTITY}, headers=headers)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    assert response.json()["genfremsendt"] == 1, response.text
    assert trial.status_code == HTTPStatus.ACCEPTED, trial.text


async def check(database: Database, number: int, ids: list[str]) -> list[str]:
    """Compare the changes of a process with its audit entries, and store deliveries for the next one."""
    rows = {row["id"]: row for row in await list_rows(database, tables.deliveries)}
    assert {row["state"] for row in rows.values()} == {DeliveryState.WAITING}
    changed = [id_ not in rows or rows[id_]["urgency"] == Urgency.REPLAY for id_ in ids]
    found = [chained.entry for chained in await audit.list_latest(database, SYSTEM_ID, len(ids) + 1)]
    entries = {entry.operation: entry.detail for entry in found if entry.request_id == str(number)}
    expected = {name: {"deliveries": 1} for name, is_changed in zip(OPERATIONS, changed, strict=True) if is_changed}
    trials = [row for row in await list_rows(database, tables.events) if row["request_id"] == str(number)]
    if trials:
        assert trials[0]["id"] in {row["event_id"] for row in rows.values()}
        expected["sendTestbesked"] = {}
    assert entries == expected, number
    return await put(database)


def main() -> None:
    url = Settings().database_url.get_secret_value()
    certificate = create_certificate()
    headers = {"client-cert": certificate.header}
    subscribe(url, certificates=frozenset({certificate.fingerprint}))

    async def warm_up(opened: Database) -> list[str]:
        """Change deliveries here first, so that the processes need not import modules and compile statements each."""
        ids = await put(opened)
        service = create_service(Settings(), opened)
        await change(opened, service, headers | {"x-requestId": "0"}, Killer(sys.maxsize, ()), ids)
        return await check(opened, 0, ids)

    ids: list[str] = run_with_database(url, warm_up)
    database = open_database(url)
    application = create_service(Settings(), database)
    asyncio.run(prepare(application))
    gc.freeze()
    number, status = 0, int(signal.SIGKILL)
    while status == signal.SIGKILL:
        number += 1
        child = os.fork()
        if child == 0:
            killer = Killer(number, {STORING, *CALLING} if url.startswith("sqlite") else {STORING})
            asyncio.run(change(database, application, headers | {"x-requestId": str(number)}, killer, ids))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ids = run_with_database(url, lambda opened: check(opened, number, ids))  # noqa: B023  # It runs at once.
    assert status == 0, status
    sys.stdout.write(f"{number - 1}\n")


if __name__ == "__main__":
    main()
