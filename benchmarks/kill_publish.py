"""Kill the service with -9 while it publishes, hundreds of times, and then check every message.

Callers post to cases of a mock Open-E whose answers are lost, late, broken or refused, whose messageapi fails for a
while, returns messages late or in another time zone, and which has other senders. The service is killed at random
moments, also while it starts. Nothing is done by hand: in the end the service must have settled everything.

Two campaigns on each database, compared with a model (`tests/publication_model.py`):

- with keys, callers repeat a post with the same `Idempotency-Key` until they receive a 2xx or 4xx: every accepted
  message is on its case exactly once and readable, every refused one is neither;
- without keys, each message is posted once: it is on its case and readable, or neither.

In both, no message is in doubt `SETTLE_SECONDS` after the last kill.

Run: python -m benchmarks.kill_publish [--kills 500] [--database SQLite] [--callers keys] [--seed 1]. The exit code is 1
if a check fails.
"""

import argparse
import asyncio
import http.client
import json
import random
import sys
import time
from typing import Any

import uvloop

from benchmarks.open_e_trouble import Trouble
from benchmarks.publishing_callers import Callers
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings, run_command
from tests.factories import PARTY_ID
from tests.publication_model import Content, Found, count_contents

CALLERS = 12
SHORTEST, LONGEST = 0.05, 0.8
"""Seconds between the first response of a service and its kill."""

KILLED_WHILE_STARTING = 0.1
"""Share of the kills that hit a service that starts."""

CONNECT_SECONDS, READ_SECONDS, MARGIN_SECONDS = 1, 2, 2
MAX_START_SECONDS = 10
LONGEST_CALL_SECONDS = MAX_START_SECONDS + CONNECT_SECONDS + READ_SECONDS
"""Seconds after the last kill in which a call may run: its message is not listed as in doubt before."""

SETTLE_SECONDS = LONGEST_CALL_SECONDS + 40
"""Seconds after the last kill in which everything must be settled."""

SETTINGS = {
    "open_e_connect_timeout": CONNECT_SECONDS,
    "open_e_read_timeout": READ_SECONDS,
    "settle_interval": 0.5,
    "settle_margin": MARGIN_SECONDS,
    "settle_lease": 5,
    "log_level": "error",
}
CALL_SECONDS = 60
PROGRESS_KILLS = 25
"""Kills between two lines on standard error."""

MOST_MESSAGES = 20_000
"""The mock stores no more messages."""

CAMPAIGNS = ("keys", "no-keys")


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill -9 while publishing.")
    parser.add_argument("--kills", type=int, default=500, help="Kills per database and campaign.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--callers", choices=CAMPAIGNS, action="append", help="Callers with keys, or without.")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of kills, posts and trouble.")
    arguments = parser.parse_args()
    print(f"### Kill -9 while publishing\n\n{arguments.kills} kills per line, seed {arguments.seed}.\n", flush=True)
    faults = []
    for database in arguments.database or DATABASES:
        for campaign in arguments.callers or CAMPAIGNS:
            chance = random.Random(f"{arguments.seed} {database} {campaign}")
            with Stage() as stage:
                found = uvloop.run(_run(stage, database, campaign == "keys", arguments.kills, chance))
            faults += [f"{database}, {campaign}: {fault}" for fault in found]
    print("\n" + ("\n".join(["FAILED:", *faults]) if faults else "No message was lost, doubled or left in doubt."))
    sys.exit(1 if faults else 0)


async def _run(stage: Stage, database: str, with_keys: bool, kills: int, chance: random.Random) -> list[str]:  # noqa: FBT001  # Private.
    mock = stage.start_mock_open_e()
    service = stage.start_service(stage.create_database(database), **open_e_settings(mock), **SETTINGS)
    callers = Callers(service.url, service.key, chance, with_keys)
    trouble = Trouble(mock.url, chance, callers.model, lambda: callers.recent)
    stopped = asyncio.Event()
    began = time.monotonic()
    posting = asyncio.create_task(callers.run(CALLERS))
    troubling = asyncio.create_task(trouble.run(stopped))
    traces = 0
    for number in range(kills):
        if number and number % PROGRESS_KILLS == 0:
            print(
                f"{database}: {number} kills in {(time.monotonic() - began) / 60:.1f} min", file=sys.stderr, flush=True
            )
        callers.is_up.set()
        await asyncio.sleep(chance.uniform(SHORTEST, LONGEST))
        stage.kill(service)
        callers.is_up.clear()
        traces += service.count_tracebacks()
        while chance.random() < KILLED_WHILE_STARTING:
            starting = stage.spawn_again(service)
            await asyncio.sleep(chance.uniform(0, 1.5))
            stage.kill(starting)
        service = await asyncio.to_thread(stage.restart, service)
    stopped.set()
    callers.is_up.set()
    callers.is_ending = True
    await troubling
    ended = time.monotonic()
    seconds = await _wait_until_settled(service, posting)
    found = await asyncio.to_thread(find_messages, service, mock)
    violations = [*callers.faults, *callers.model.check(found)]
    if traces + service.count_tracebacks():
        violations.append(f"{traces + service.count_tracebacks()} traces in the log")
    counts = sorted(callers.model.statuses().items())
    statuses = ", ".join(f"{count} with {status or 'none'}" for status, count in counts)
    print(
        f"{database}, {'with' if with_keys else 'without'} keys: {kills} kills in {(ended - began) / 60:.1f} min; "
        f"answers {statuses}; {callers.replayed} replayed; {found.on_case.total()} on their cases, "
        f"{len(found.readable)} readable, {found.in_doubt} in doubt after {seconds:.0f} s; "
        f"{trouble.planted} equal messages of others; {len(violations)} violations",
        flush=True,
    )
    if found.on_case.total() > MOST_MESSAGES * 0.9:
        violations.append(f"too many messages for the mock, which stores {MOST_MESSAGES}: choose fewer kills")
    return violations


async def _wait_until_settled(service: Program, posting: "asyncio.Task[None]") -> float:
    """Wait until no caller has to repeat a post and nothing is in doubt, at most `SETTLE_SECONDS`."""
    began = time.monotonic()
    try:
        await asyncio.wait_for(posting, SETTLE_SECONDS)
    except TimeoutError:
        return time.monotonic() - began
    await asyncio.sleep(max(0, began + LONGEST_CALL_SECONDS - time.monotonic()))
    while time.monotonic() - began < SETTLE_SECONDS:
        if not await asyncio.to_thread(_count_in_doubt, service):
            break
        await asyncio.sleep(0.5)  # Each count is a process.
    return time.monotonic() - began


def _count_in_doubt(service: Program) -> int:
    return len(run_command(["messages", "list", "--limit", "1000000"], service.settings).splitlines())


def find_messages(service: Program, mock: Program) -> Found:
    """Return the messages on the cases of the mock, and those of the service."""
    in_open_e = count_contents(
        Content(
            message["flowInstanceID"],
            _normalise_line_breaks(message["message"]),
            message["attachments"][0]["filename"] if message["attachments"] else None,
            message["userID"],
        )
        for message in _get(mock, "/control/messages")
    )
    readable = {
        f"/webmessages/{message['id']}": Content(
            int(message["externalReferences"][0]["value"]),
            _normalise_line_breaks(message["message"]),
            message["attachments"][0]["fileName"] if message.get("attachments") else None,
            (message.get("sender") or {}).get("userId"),
        )
        for message in _get(service, f"/webmessages/recipients/{PARTY_ID}")
    }
    return Found(in_open_e, readable, _count_in_doubt(service))


def _normalise_line_breaks(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _get(program: Program, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=CALL_SECONDS)
    connection.request("GET", path, headers={"apikey": program.key})
    value = json.loads(connection.getresponse().read())
    connection.close()
    return value


if __name__ == "__main__":
    main()
