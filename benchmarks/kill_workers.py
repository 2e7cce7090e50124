"""Kill workers with -9 every second while they deliver 20,000 events and receivers crash and recover.

Receivers: one responds at once, one is slow, one fails on first attempts (500, reset, malformed response), one rejects
some events with 404, and one is killed and restarted repeatedly.

Checked at the end, on each database:

- each event arrived at least once at every system; deliveries rejected with 404 are parked, and no others;
- no event arrived before an earlier one of its key had arrived or was parked;
- the receipts are those of the requests that receivers accepted: number, ids and hashes of the bodies;
- all receipts are sealed in the audit, by workers that were killed too, and match what was sealed;
- an event arrived twice only if the worker with the first response was killed before the second arrival, or a worker or
  receiver died within a moment of the first.

Run: python -m benchmarks.kill_workers [--events 20000] [--database SQLite]. The exit code is 1 if a check fails.
"""

import argparse
import random
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.queue_checks import Life, find_out_of_order, find_repeats, find_wrong_receipts, find_wrongly_parked
from benchmarks.queue_stage import ReceiverProgram, count_waiting, prepare, publish, run, start_receiver, start_worker
from benchmarks.stage import DATABASES, Stage
from budkavle.clock import now
from budkavle.receipt_sealing import seal_receipts
from domain.audit import CATALOGUE, RECEIPTS, AuditEntry
from domain.deliveries import DeliveryState
from persistence import audit, audit_seals, receipt_rounds, tables
from persistence.database import Database
from persistence.work import short_read

PATHS = ("/ok/0", "/ok/100", "/flaky", "/gone", "/dies/ok/0")
WORKERS = {"SQLite": 1, "PostgreSQL": 3}
SECONDS_BETWEEN_KILLS = 1.0
SECONDS_BETWEEN_ROUNDS = 0.5
"""Seconds between rounds that seal receipts, so that kills meet many of them."""
AT_MOST_SECONDS = 1500


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
    print("| | deliveries | attempts | kills | receiver crashes | duplicates | parked | rounds | seconds | faults |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    faults = []
    for kind in arguments.database or DATABASES:
        faults += _run_soak(kind, arguments.keys, arguments.events // arguments.keys, random.Random(arguments.seed))
    print("\n".join(["", *faults[:20]]))
    sys.exit(1 if faults else 0)


def _run_soak(kind: str, keys: int, each: int, chance: random.Random) -> list[str]:
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        steady = start_receiver(stage, Path(folder) / "steady")
        dying = start_receiver(stage, Path(folder) / "dying")
        ports = {path: (dying if path.startswith("/dies") else steady).program.port for path in PATHS}
        run(url, lambda database: prepare(database, ports))
        start = time.monotonic()
        publishing = threading.Thread(
            target=lambda: run(url, lambda database: publish(database, map(str, range(keys)), each))
        )
        lives, deaths = _kill_until_done(stage, url, WORKERS[kind], dying, publishing, chance)
        seconds = time.monotonic() - start
        arrivals = steady.list_arrivals() + dying.list_arrivals()
        parked = run(url, _list_parked)
        arrivals.sort(key=lambda arrival: arrival.time)
        faults, again = find_repeats(arrivals, lives, deaths)
        faults += find_out_of_order(arrivals, each) + find_wrongly_parked(arrivals, parked)
        faults += find_wrong_receipts(arrivals, run(url, _list_receipts)) + run(url, _verify_receipts)
        rounds = run(url, _count_rounds)
        queues = len({(arrival.path, arrival.key) for arrival in arrivals})
        faults += [] if queues == keys * len(PATHS) else [f"{queues} queues were seen"]
        print(
            f"| {kind} | {each * keys * len(PATHS)} | {len(arrivals)} | {len(lives)} | {len(deaths)} | {again} | "
            f"{len(parked)} | {rounds} | {seconds:.0f} | {len(faults)} |",
            flush=True,
        )
        return [f"{kind}: {fault}" for fault in faults]


def _kill_until_done(
    stage: Stage, url: str, number: int, dying: ReceiverProgram, publishing: threading.Thread, chance: random.Random
) -> tuple[list[Life], list[float]]:
    """Kill workers, and sometimes the crashing receiver. Return the workers' lives and the times of receiver kills.

    Publishing begins when the workers run: otherwise some events are delivered before the first kill.
    """
    settings = {"log_level": "info", "delivery_lease": 5, "delivery_timeout": 3, "delivery_connect_timeout": 2}
    settings |= {"receipt_seal_minutes": SECONDS_BETWEEN_ROUNDS / 60}
    running = [start_worker(stage, url, **settings) for _ in range(number)]
    publishing.start()
    lives: list[Life] = []
    deaths: list[float] = []
    ends = time.monotonic() + AT_MOST_SECONDS
    while publishing.is_alive() or run(url, count_waiting):
        if time.monotonic() > ends:
            break
        time.sleep(SECONDS_BETWEEN_KILLS)
        place = chance.randrange(number)
        stage.kill(running[place])
        lives.append(Life(running[place].errors, time.time()))
        running[place] = start_worker(stage, url, **settings)
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


async def _count_rounds(database: Database) -> int:
    heads = await audit_seals.read_heads(database)
    return heads[RECEIPTS].length if RECEIPTS in heads else 0


if __name__ == "__main__":
    main()
