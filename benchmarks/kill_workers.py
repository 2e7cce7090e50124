"""Kill workers with -9 every second while they deliver 20,000 events, and receivers crash, recover and are paused.

Receivers: one responds at once, one is slow, one fails on first attempts (500, reset, malformed response), one rejects
some events with 404, and one is killed and restarted repeatedly. One is behind a gateway that requires a key and an
access token, which becomes invalid every few seconds. Meanwhile an operator pauses and resumes systems and
subscriptions, and gets events.

Checked at the end, on each database:

- each event arrived at least once at every system; deliveries rejected with 404 are parked, and no others;
- no event arrived before an earlier one of its key had arrived or was parked;
- the receipts are those of the requests that receivers accepted: number, ids and hashes of the bodies;
- nothing was attempted during a pause;
- each event for operators that is stored as sent has arrived;
- all receipts are sealed in the audit, by workers that were killed too, and match what was sealed;
- an event arrived twice only if the worker with the first response was killed before the second arrival, or a worker or
  receiver died within a moment of the first.

Run: python -m benchmarks.kill_workers [--events 20000] [--database SQLite]. The exit code is 1 if a check fails.
"""

import argparse
import base64
import contextlib
import random
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

from benchmarks.queue_checks import (
    Life,
    PausedTime,
    find_attempts_in_pauses,
    find_lost_operator_events,
    find_out_of_order,
    find_repeats,
    find_wrong_receipts,
    find_wrongly_parked,
)
from benchmarks.queue_stage import (
    ENTITY_TYPE,
    ORG_CODE,
    ORG_TYPE,
    ReceiverProgram,
    build_gateway_credentials,
    count_waiting,
    prepare,
    publish,
    run,
    start_receiver,
    start_worker,
)
from benchmarks.stage import DATABASES, Stage
from budkavle.clock import now
from budkavle.receipt_sealing import seal_receipts
from domain.audit import CATALOGUE, RECEIPTS, AuditEntry
from domain.deliveries import DeliveryState
from domain.errors import NotFound
from domain.subscriptions import Identity
from persistence import audit, audit_seals, delivery_pauses, receipt_rounds, tables
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.work import short_read

PATHS = ("/ok/0", "/ok/100", "/flaky", "/gone", "/gateway/flaky", "/dies/ok/0")
OPERATOR_PATH = "/operator"
TOKEN_SECONDS = 4
WORKERS = {"SQLite": 1, "PostgreSQL": 3}
SECONDS_BETWEEN_KILLS = 1.0
SECONDS_BETWEEN_ROUNDS = 0.5
"""Seconds between rounds that seal receipts, so that kills meet many of them."""
AT_MOST_SECONDS = 1500
PAUSE_SECONDS = 4
FAST = {
    "log_level": "info",
    "delivery_lease": 5,
    "delivery_timeout": 3,
    "delivery_connect_timeout": 2,
    "receipt_seal_minutes": SECONDS_BETWEEN_ROUNDS / 60,
    "operator_webhook_private_addresses": True,
}
UNAUTHORISED = 401


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill -9 while delivering.")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=400, help="Number of persons in the events.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="Seed of the choice of the killed processes."
    )
    arguments = parser.parse_args()
    print(f"### Kill -9 of workers, {arguments.events} events to {len(PATHS)} systems, seed {arguments.seed}\n")
    print(
        "| | deliveries | attempts | kills | receiver crashes | duplicates | parked | rejected tokens | pauses | "
        "operator events | rounds | seconds | faults |"
    )
    print(f"|---{'|--:' * 12}|")
    faults = []
    for kind in arguments.database or DATABASES:
        with Stage() as stage:
            faults += run_soak(stage, kind, arguments.keys, arguments.events // arguments.keys, arguments.seed)
    print("\n".join(["", *faults[:20]]))
    sys.exit(1 if faults else 0)


def run_soak(stage: Stage, kind: str, keys: int, each: int, seed: int) -> list[str]:
    """Deliver that number of events of each key, print a row of the table, and return the faults."""
    chance = random.Random(seed)
    with TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        steady = start_receiver(stage, Path(folder) / "steady")
        dying = start_receiver(stage, Path(folder) / "dying")
        ports = {path: (dying if path.startswith("/dies") else steady).program.port for path in PATHS}
        gateway = build_gateway_credentials(Path(folder), steady.program.port, TOKEN_SECONDS)
        run(url, lambda database: prepare(database, ports, gateway=gateway))
        pauser = Pauser(url, chance)
        start = time.monotonic()
        publishing = threading.Thread(
            target=lambda: run(url, lambda database: publish(database, map(str, range(keys)), each))
        )
        settings = {
            "operator_webhook_url": f"{steady.program.url}{OPERATOR_PATH}",
            "operator_webhook_secret": _write_secret(Path(folder)),
        }
        lives, deaths = _kill_until_done(stage, url, WORKERS[kind], dying, publishing, pauser, settings)
        seconds = time.monotonic() - start
        everything = steady.list_arrivals() + dying.list_arrivals()
        arrivals = [arrival for arrival in everything if arrival.path != OPERATOR_PATH]
        notified = [arrival for arrival in everything if arrival.path == OPERATOR_PATH]
        parked = run(url, _list_parked)
        arrivals.sort(key=lambda arrival: arrival.time)
        faults, again = find_repeats(arrivals, lives, deaths)
        faults += find_out_of_order(arrivals, each) + find_wrongly_parked(arrivals, parked)
        faults += find_wrong_receipts(arrivals, run(url, _list_receipts)) + run(url, _verify_receipts)
        faults += find_attempts_in_pauses(arrivals, pauser.pauses)
        faults += find_lost_operator_events(notified, run(url, _list_sent_events))
        rounds = run(url, _count_rounds)
        rejected = sum(arrival.status == UNAUTHORISED for arrival in arrivals)
        queues = len({(arrival.path, arrival.key) for arrival in arrivals})
        faults += [] if queues == keys * len(PATHS) else [f"{queues} queues were seen"]
        print(
            f"| {kind} | {each * keys * len(PATHS)} | {len(arrivals)} | {len(lives)} | {len(deaths)} | {again} | "
            f"{len(parked)} | {rejected} | {len(pauser.pauses)} | {len(notified)} | {rounds} | {seconds:.0f} | "
            f"{len(faults)} |",
            flush=True,
        )
        return [f"{kind}: {fault}" for fault in faults]


class Pauser:
    """An operator who pauses one system, or one of its subscriptions, at a time."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.chance = chance
        self.pauses: list[PausedTime] = []
        self._url = url
        self._command: Command | None = None
        self._begin = 0.0

    def pause(self) -> None:
        """Pause deliveries, half of the times with an end."""
        identity = self.chance.choice([None, Identity(ORG_TYPE, ORG_CODE, ENTITY_TYPE)])
        place = self.chance.randrange(len(PATHS))
        self._command = self._build_command(str(UUID(int=place + 1)), identity)
        until = self.chance.choice([None, now() + timedelta(seconds=PAUSE_SECONDS)])
        self._run(delivery_pauses.pause, self._command, until)
        self.pauses.append(PausedTime(PATHS[place], time.time(), inf if until is None else until.timestamp()))

    def resume(self) -> None:
        """Resume what is paused. A pause with an end may have ended."""
        last = self.pauses[-1]
        self.pauses[-1] = replace(last, end=min(last.end, time.time()))
        command = self._build_command(self._command.system_id, self._command.identity)
        with contextlib.suppress(NotFound):
            self._run(delivery_pauses.resume, command)

    def _build_command(self, system_id: str, identity: Identity | None) -> Command:
        return Command(system_id, identity, "operator", now(), str(uuid4()), str(uuid4()))

    def _run(self, change: Any, *arguments: Any) -> None:
        async def change_and_wake(database: Database) -> None:
            await change(database, *arguments)
            await database.wake_workers()

        run(self._url, change_and_wake)


def _kill_until_done(
    stage: Stage,
    url: str,
    number: int,
    dying: ReceiverProgram,
    publishing: threading.Thread,
    pauser: Pauser,
    settings: Mapping[str, Any],
) -> tuple[list[Life], list[float]]:
    """Kill workers, and sometimes the crashing receiver. Return the workers' lives and the times of receiver kills.

    Publishing begins when the workers run: otherwise some events are delivered before the first kill.
    """
    settings = FAST | settings
    running = [start_worker(stage, url, **settings) for _ in range(number)]
    publishing.start()
    lives: list[Life] = []
    deaths: list[float] = []
    ends = time.monotonic() + AT_MOST_SECONDS
    while publishing.is_alive() or run(url, count_waiting):
        if time.monotonic() > ends:
            break
        time.sleep(SECONDS_BETWEEN_KILLS)
        place = pauser.chance.randrange(number)
        stage.kill(running[place])
        lives.append(Life(running[place].errors, time.time()))
        running[place] = start_worker(stage, url, **settings)
        if len(lives) % 4 == 1:
            pauser.pause()
        elif len(lives) % 4 == 0:
            pauser.resume()
        if len(lives) % 5 == 0:
            stage.kill(dying.program)
            deaths.append(time.time())
        elif len(lives) % 5 == 2 and dying.program.process.poll() is not None:
            dying.program = start_receiver(stage, dying.log, dying.program.port).program
    for program in running:
        stage.stop(program)
    publishing.join()
    return lives, deaths


async def _list_parked(database: Database) -> list[str]:
    select = tables.deliveries.select().where(tables.deliveries.c.state == str(DeliveryState.PARKED))
    rows = await database.read(short_read(lambda connection: connection.execute(select).all()))
    return [row.id for row in rows]


async def _list_sent_events(database: Database) -> list[str]:
    select = tables.operator_events.select().where(tables.operator_events.c.sent.is_not(None))
    rows = await database.read(short_read(lambda connection: connection.execute(select).all()))
    return [row.id for row in rows]


async def _list_receipts(database: Database) -> list[tuple[str, str]]:
    select = tables.receipts.select()
    rows = await database.read(short_read(lambda connection: connection.execute(select).all()))
    return [(row.id, row.hash) for row in rows]


async def _verify_receipts(database: Database) -> list[str]:
    """Seal the receipts that the workers left, and return what does not match."""
    await seal_receipts(database, now())
    # The systems of the benchmark are stored without an entry, which the audit of a system must have.
    await audit.record(database, AuditEntry(CATALOGUE, "call", now(), "apply", "-", "unchanged", "benchmark"))
    _, broken = await audit.verify(database)
    counts, difference = await receipt_rounds.verify(database, now() - timedelta(days=90))
    faults = [f"the audit is broken: {broken}"] if broken else []
    faults += [f"the receipts do not match the audit: {difference}"] if difference else []
    left = counts.removed + counts.unsealed
    return faults + ([f"{left} receipts are not sealed, or removed"] if left else [])


def _write_secret(folder: Path) -> str:
    """Return the reference to a new secret for the signatures of events for operators."""
    file = folder / "operator-secret"
    file.write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}")
    return f"file:{file}"


async def _count_rounds(database: Database) -> int:
    heads = await audit_seals.read_heads(database)
    return heads[RECEIPTS].length if RECEIPTS in heads else 0


if __name__ == "__main__":
    main()
