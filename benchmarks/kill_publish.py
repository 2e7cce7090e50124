"""Kill the service with -9 while it publishes, restart it, repeat many times, and then check all messages.

Each message has its own case, so it can be identified in Open-E, in the service and among the unsettled messages. The
mock is slow and sometimes loses a response or resets a connection, so that kills hit every step.

Checked at the end, on each database:

- every message with a 201 is readable, and is on its case exactly once;
- every message on a case is readable, or visible to operators as `sending` or `unknown`;
- no readable message is missing on its case, no message is there twice, and no certainly refused message is there.

Run: python -m benchmarks.kill_publish [--rounds 30] [--database SQLite]. The exit code is 1 if a check fails.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvloop

from benchmarks.load import build_request
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings, run_command

CLIENTS = 12
PARTY = "81471222-5798-11e9-ae24-57fa13b361e1"
SHORTEST, LONGEST = 0.05, 0.8
"""Seconds between the first response of a service and its kill."""

FAULTS = (
    ("Slow", 40, 0.02),
    ("AcceptedAnswerLost", 1, 0),
    ("Slow", 25, 0.05),
    ("Reset", 1, 0),
    ("Slow", 30, 0.002),
    ("Garbage", 1, 0),
    ("FlowInstanceNotFound", 1, 0),
)
ORDERS = 2000
READ_TIMEOUT_SECONDS = 5
CALL_SECONDS = 20


@dataclass
class PublishLog:
    """Responses by case: the path of the message after a 201, other statuses, missing responses."""

    created: dict[int, str] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill -9 while publishing.")
    parser.add_argument("--rounds", type=int, default=30, help="Kills per database.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of the times of the kills.")
    arguments = parser.parse_args()
    print(
        f"### Kill -9 while publishing\n\n{arguments.rounds} kills per database, seed {arguments.seed}.\n", flush=True
    )
    faults = []
    for database in arguments.database or DATABASES:
        with Stage() as stage:
            faults += _run_soak(stage, database, arguments.rounds, random.Random(arguments.seed))
    print(f"\n{'FAILED: ' + '; '.join(faults) if faults else 'No message was lost or published twice.'}")
    sys.exit(1 if faults else 0)


def _run_soak(stage: Stage, database: str, rounds: int, chance: random.Random) -> list[str]:
    mock = stage.start_mock_open_e()
    _order_faults(mock)
    service = stage.start_service(
        stage.create_database(database),
        **open_e_settings(mock),
        open_e_read_timeout=READ_TIMEOUT_SECONDS,
        log_level="error",
    )
    sent, cases = PublishLog(), itertools.count(1)
    traces = 0
    for _ in range(rounds):
        seconds = chance.uniform(SHORTEST, LONGEST)
        uvloop.run(_post_until_killed(stage, service, sent, cases, seconds))
        traces += service.count_tracebacks()
        service = stage.restart(service)
    # Calls that the mock received before the last kill end after its own delay.
    time.sleep(1)
    faults = _check(service, mock, sent, database)
    return faults + ([f"{database}: {traces} traces in the log"] if traces else [])


async def _post_until_killed(
    stage: Stage, service: Program, sent: PublishLog, cases: "itertools.count[int]", seconds: float
) -> None:
    stopped = asyncio.Event()
    clients = [asyncio.create_task(_post(service, sent, cases, stopped)) for _ in range(CLIENTS)]
    await asyncio.sleep(seconds)
    stage.kill(service)
    stopped.set()
    async with asyncio.timeout(CALL_SECONDS):
        await asyncio.gather(*clients)


async def _post(service: Program, sent: PublishLog, cases: "itertools.count[int]", stopped: asyncio.Event) -> None:
    """Post messages, each once, until the connection closes."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    except OSError:
        return
    while not stopped.is_set():
        case = next(cases)
        body = {
            "partyId": PARTY,
            "message": f"For case {case}",
            "externalReferences": [{"key": "flowInstanceId", "value": str(case)}],
        }
        sent.silent.add(case)
        try:
            writer.write(build_request("POST", "/webmessages", service.key, json.dumps(body)).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            break
        sent.silent.discard(case)
        status = int(head.split(" ", 2)[1])
        if status == 201:
            sent.created[case] = fields["location"]
        else:
            sent.refused[case] = status
    writer.close()


def _check(service: Program, mock: Program, sent: PublishLog, database: str) -> list[str]:
    in_open_e = Counter(message["flowInstanceID"] for message in _get(mock, "/control/messages"))
    found = _get(service, f"/webmessages/recipients/{PARTY}")
    readable = Counter(int(message["externalReferences"][0]["value"]) for message in found)
    by_case = {int(message["externalReferences"][0]["value"]): message["id"] for message in found}
    lines = run_command(["messages", "list", "--limit", "1000000"], service.settings).splitlines()
    unsettled = [json.loads(line) for line in lines]
    visible = {message["flowInstanceId"] for message in unsettled}
    states = Counter(message["state"] for message in unsettled)
    print(
        f"{database}: {len(sent.created)} responses with 201, {dict(Counter(sent.refused.values()))} others, "
        f"{len(sent.silent)} requests without a response; {in_open_e.total()} messages in Open-E, {readable.total()} "
        f"readable, {states['sending']} sending, {states['unknown']} unknown",
        flush=True,
    )
    checks = {
        "201 but not readable": [c for c, path in sent.created.items() if path != f"/webmessages/{by_case.get(c)}"],
        "201 but not returned by id": [c for c, path in sent.created.items() if _fetch_status(service, path) != 200],
        "201 but not in Open-E exactly once": [case for case in sent.created if in_open_e[case] != 1],
        "in Open-E more than once": [case for case, count in in_open_e.items() if count > 1],
        "in Open-E, neither readable nor visible": [c for c in in_open_e if c not in readable and c not in visible],
        "readable more than once": [case for case, count in readable.items() if count > 1],
        "readable but not in Open-E": [case for case in readable if not in_open_e[case]],
        "readable and unsettled at once": [case for case in readable if case in visible],
        "refused with 404 but not gone": [
            c for c, status in sent.refused.items() if status == 404 and (c in readable or c in visible or in_open_e[c])
        ],
        "unexpected status": [c for c, status in sent.refused.items() if status not in {404, 500}],
    }
    if not sent.created or not sent.silent:
        checks["no kill hit a publish"] = [0]
    return [f"{database}: {name}: {len(cases)}, as {cases[:3]}" for name, cases in checks.items() if cases]


def _order_faults(mock: Program) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=CALL_SECONDS)
    for name, times, seconds in itertools.islice(itertools.cycle(FAULTS), ORDERS):
        connection.request("POST", "/control/faults", json.dumps({"fault": name, "times": times, "seconds": seconds}))
        response = connection.getresponse()
        if response.status != 201:
            raise RuntimeError(f"the mock rejected the fault order: {response.read()!r}")
        response.read()
    connection.close()


def _get(program: Program, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=CALL_SECONDS)
    connection.request("GET", path, headers={"apikey": program.key})
    value = json.loads(connection.getresponse().read())
    connection.close()
    return value


def _fetch_status(program: Program, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=CALL_SECONDS)
    connection.request("GET", path, headers={"apikey": program.key})
    status = connection.getresponse().status
    connection.close()
    return status


if __name__ == "__main__":
    main()
