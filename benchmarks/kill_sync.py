"""Kill a process with -9 while it syncs 20,000 entries, repeat, and check the stored set each time.

A child process makes one sync of one of two sets, alternately. The sets differ in all entries, so a mixture is
detectable. The process is killed at a random moment of the usual duration. Undelivered messages are queued.

Checked after each kill, on each database:

- the set is completely the old one or the new one, and no delivery is lost if it is the old one;
- the audit chain contains the sync if and only if it was committed, and is valid (verified every tenth time and at the
  end).

Run: python -m benchmarks.kill_sync [--rounds 100] [--database SQLite]. The exit code is 1 if a check fails.
"""

import argparse
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from uuid import uuid4

import sqlalchemy as sa
import uvloop

from benchmarks.load import ROOT
from benchmarks.stage import DATABASES, Stage
from benchmarks.systems import CALLER, END, START, SYSTEM_IDS, build_entries, prepare
from domain.subscriptions import Entry
from persistence import audit, subscriptions
from persistence.database import Database
from persistence.opening import open_database
from persistence.subscriptions import SyncCall
from persistence.tables import deliveries, events
from persistence.tables import subscriptions as subscriptions_table
from persistence.work import long_write, short_read, short_write

COUNT = 20_000
SYSTEM = SYSTEM_IDS[0]
CHILD_SECONDS = 120
QUEUED = 100
"""Deliveries that are queued before each round."""

VERIFY_EVERY = 10
"""Kills between two verifications of the whole audit log, which grows by some megabytes per sync."""


@dataclass(frozen=True)
class SyncState:
    """The stored set, and the length of the system's audit chain, which grows by two per sync."""

    which: int
    length: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill -9 while syncing.")
    parser.add_argument("--rounds", type=int, default=100, help="Kills per database.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of the times of the kills.")
    parser.add_argument("--child", type=int, help="Sync this set of the database named on standard input.")
    arguments = parser.parse_args()
    if arguments.child is not None:
        uvloop.run(_run_child(sys.stdin.readline().strip(), arguments.child))
        return
    print(f"### Kill -9 while syncing {COUNT:,} entries\n\n{arguments.rounds} kills per database, ", end="")
    print(f"seed {arguments.seed}.\n", flush=True)
    faults = []
    for kind in arguments.database or DATABASES:
        with Stage() as stage:
            faults += _run_soak(kind, stage.create_database(kind), arguments.rounds, random.Random(arguments.seed))
    print(f"\n{'FAILED: ' + '; '.join(faults) if faults else 'Every kill left the old set or the new one.'}")
    sys.exit(1 if faults else 0)


def build_wanted(which: int) -> list[Entry]:
    """Return set 0 or 1. Half of the entries have the same identity in both, but another path."""
    return build_entries(COUNT, path=f"/set-{which}", first_code=which * COUNT // 2)


async def _run_child(url: str, which: int) -> None:
    database = open_database(url)
    call = SyncCall(SYSTEM, build_wanted(which), START, CALLER, "soak")
    print("begins", flush=True)
    await subscriptions.sync(database, call)
    print("done", flush=True)
    await database.close()


def _run_soak(kind: str, url: str, rounds: int, chance: random.Random) -> list[str]:
    uvloop.run(_prepare(url))
    # Measure the second sync: it replaces a set, as all killed ones do.
    seconds = [_sync_in_child(url, which, None)[1] for which in (0, 1)][-1]
    state = SyncState(which=1, length=4)
    unchanged, changed = 0, 0
    for number in range(1, rounds + 1):
        uvloop.run(_queue_deliveries(url))
        is_acknowledged, _ = _sync_in_child(url, 1 - state.which, chance.uniform(0, seconds * 1.5))
        is_last = number == rounds or number % VERIFY_EVERY == 0
        found, faults = uvloop.run(_check(url, state, is_acknowledged=is_acknowledged, is_verifying=is_last))
        if faults:
            return [f"{kind}, kill {number}: {fault}" for fault in faults]
        changed, unchanged = (changed, unchanged + 1) if found == state else (changed + 1, unchanged)
        state = found
    print(
        f"{kind}: a sync takes {seconds:.2f} s; after a kill {unchanged} times the old set, {changed} times the new",
        flush=True,
    )
    return [] if unchanged and changed else [f"{kind}: no kill hit a sync"]


def _sync_in_child(url: str, which: int, kill_after: float | None) -> tuple[bool, float]:
    """Return whether the child reported success, and the duration."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kill_sync", "--child", str(which)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{url}\n")
        process.stdin.flush()
        if process.stdout.readline() != "begins\n":
            raise RuntimeError("the child did not begin")
        start = time.perf_counter()
        if kill_after is None:
            line = process.stdout.readline()
            seconds = time.perf_counter() - start
            process.wait(CHILD_SECONDS)
            return line == "done\n", seconds
        time.sleep(kill_after)
        process.kill()
        return process.stdout.readline() == "done\n", time.perf_counter() - start
    finally:
        process.kill()
        process.communicate(timeout=CHILD_SECONDS)


async def _prepare(url: str) -> None:
    database = open_database(url)
    await database.migrate()
    await prepare(database)
    await database.close()


async def _queue_deliveries(url: str) -> None:
    """Queue deliveries for some subscriptions of the current set. The queues are empty before."""
    database = open_database(url)

    def insert(connection: sa.Connection) -> None:
        connection.execute(deliveries.delete())
        connection.execute(events.delete())
        event = {"id": str(uuid4()), "entity_type": 100, "created": END, "content": "{}", "subscriptions": QUEUED}
        event |= {"publisher": "soak", "request_id": "soak"}
        connection.execute(events.insert(), event)
        ids = list(connection.execute(sa.select(subscriptions_table.c.id).limit(QUEUED)).scalars())
        delivery = {"event_id": event["id"], "system_id": SYSTEM, "created": END, "due": END, "lease": "worker"}
        delivery |= {"state": "waiting", "attempts": 0}
        rows = [{"id": str(uuid4()), "subscription_id": id_, **delivery} for id_ in ids]
        connection.execute(deliveries.insert(), rows)

    await database.write(long_write(insert))
    await database.close()


async def _check(
    url: str, before: SyncState, *, is_acknowledged: bool, is_verifying: bool
) -> tuple[SyncState, list[str]]:
    """Return the current state and the violations found."""
    database = open_database(url)
    # A server may still execute the child's transaction, which holds this lock until it ends.
    length = (await database.write(short_write(audit.lock_chain), SYSTEM)).length
    rows = await subscriptions.list_subscriptions(database, SYSTEM)
    found = {(item.identity, item.webhook_url) for item in rows}
    sets = [{(entry.identity, entry.webhook_url) for entry in build_wanted(which)} for which in (0, 1)]
    queued = await _count_queued(database)
    faults = []
    after = SyncState(1 - before.which, before.length + 2)
    if found not in sets:
        old, new = len(found & sets[before.which]), len(found & sets[after.which])
        faults.append(f"a mixture: {old} of the old entries and {new} of the new ones")
        return before, faults
    state = SyncState(sets.index(found), length)
    if state not in (before, after):
        faults.append(f"{before} became {state}: the set differs from the audit log")
    if is_acknowledged and state != after:
        faults.append("the sync was acknowledged, but its set is not stored")
    if state == before and queued != QUEUED:
        faults.append(f"{queued} messages of {QUEUED} are left although nothing changed")
    if is_verifying:
        _, broken = await audit.verify(database)
        faults += [f"the audit is broken: {broken}"] if broken else []
    await database.close()
    return state, faults


async def _count_queued(database: Database) -> int:
    count = sa.select(sa.func.count()).select_from(deliveries)
    return await database.read(short_read(lambda connection: int(connection.execute(count).scalar_one())))


if __name__ == "__main__":
    main()
