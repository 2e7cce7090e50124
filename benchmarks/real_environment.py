"""Run the service and two workers on PostgreSQL under moderate mixed load while faults are injected into the database.

Each round contains these faults in random order: PostgreSQL is restarted; all backends are terminated; it does not
respond for 20 seconds, once on all connections and once on existing ones only; a snapshot is held for a minute; a
PgBouncer, through which all connections run for this fault, is restarted; the primary is killed and its synchronous
standby promoted. The service and worker processes are never restarted.

Checked:

- every web message with a 201 is in the database; those with a case are on it exactly once; no other response hides a
  message on a case;
- every accepted event arrived at every subscription, including events of web messages;
- no event arrived before an earlier one of its key; an event arrived twice only around a fault;
- all failed calls returned 503 with `Retry-After` or, if Open-E had published the message, the response that says so;
- all work succeeded again within the limit of the fault, and continued to succeed;
- nothing is left for an operator to resolve: no delivery, no message in state `sending` or `unknown`;
- the original processes still run, are ready, logged no traceback, and left no delivery to housekeeping; the audit
  chain is valid.

Run: python -m benchmarks.real_environment [--rounds 3] [--seed N] [--faults restart,silent] [--pooler transaction]. The
exit code is 1 if a check fails. The logs of a failed run are kept in `build/real-environment/`.
"""

import argparse
import asyncio
import http.client
import json
import math
import random
import shutil
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from benchmarks.database_faults import FAULTS, POOLERS, SESSION, Databases, databases, find_pooler_program
from benchmarks.load import ROOT
from benchmarks.mixed_load import (
    KINDS,
    MESSAGE_PATH,
    PATHS,
    SYNC,
    SYSTEMS,
    Load,
    LoadCall,
    build_catalogue,
    create_publish_key,
    set_of,
)
from benchmarks.queue_stage import Arrival, count_waiting, run, start_receiver, start_worker
from benchmarks.stage import Program, Stage, open_e_settings, run_command
from budkavle.demo.subscriptions import CLIENT_CERT
from domain.web_messages import MessageState, UnsettledMessage
from persistence import audit, tables
from persistence import web_messages as stored
from persistence.database import Database
from persistence.work import short_read

CALM_SECONDS = 5.0
"""Seconds between the repair of one fault and the next fault."""

LATE_SECONDS = 2.0
"""Seconds from acceptance to arrival above which a delivery counts as delayed by a fault."""

DRAIN_SECONDS = 120
"""Maximum seconds until the last deliveries arrive after the end of the load."""

AROUND_SECONDS = 2.0
"""Maximum seconds before a fault at which an interrupted call began, and after it at which such a call ends."""

INTERVAL_SECONDS = 0.05


STUCK_RELEASED = "stuck_deliveries_released"
"""The log event of a worker whose housekeeping released deliveries that nothing else would release."""

LOGS = ROOT / "build" / "real-environment"
DELIVERIES = (*PATHS, MESSAGE_PATH)


@dataclass(frozen=True)
class Occurrence:
    """One fault, with times of `time.time`. Failures of calls until `until` are attributed to it.

    From `prepared` to `repaired` a delivery may arrive twice.
    """

    name: str
    prepared: float
    began: float
    ended: float
    until: float
    repaired: float
    lag: float
    """The maximum excess of this program's intervals in seconds, which the machine causes."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults of the database under mixed load.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds; each fault happens once in each round.")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of the order of the faults.")
    parser.add_argument("--faults", default=",".join(FAULTS), help="Names of faults, separated by commas.")
    parser.add_argument("--pooler", choices=POOLERS, default=SESSION, help="Mode of the PgBouncer.")
    arguments = parser.parse_args()
    names = arguments.faults.split(",")
    if unknown := set(names) - FAULTS.keys():
        parser.error(f"--faults: {', '.join(sorted(unknown))}; known are {', '.join(FAULTS)}")
    if "bouncer" in names and find_pooler_program() is None:
        sys.exit("pgbouncer is not installed: install it, or leave bouncer out of --faults")
    print(
        f"### Faults of PostgreSQL under load, {arguments.rounds} rounds, seed {arguments.seed}, "
        f"PgBouncer: {arguments.pooler}\n",
        flush=True,
    )
    chance = random.Random(arguments.seed)
    order = [name for _ in range(arguments.rounds) for name in chance.sample(names, len(names))]
    with databases(arguments.pooler) as servers, Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        failures = _run_campaign(stage, servers, Path(folder), order, chance)
    print(f"\n{'FAILED:' if failures else 'Nothing was lost or left behind, and no manual step was necessary.'}")
    print("\n".join(f"- {failure}" for failure in failures))
    sys.exit(1 if failures else 0)


def _run_campaign(
    stage: Stage, servers: Databases, folder: Path, order: Sequence[str], chance: random.Random
) -> list[str]:
    mock, target = stage.start_mock_open_e(), start_receiver(stage, folder / "arrivals")
    service = stage.start_service(servers.url, trusted_proxies="127.0.0.1", log_level="info", **open_e_settings(mock))
    file = folder / "catalogue.yaml"
    file.write_text(build_catalogue(target.program.url))
    run_command(["apply", str(file)], service.settings)
    programs = [service, *(start_worker(stage, servers.url, log_level="info") for _ in range(2))]
    load = Load(service, create_publish_key(service), chance)
    for system in SYSTEMS:
        _sync(service, set_of(system))
    occurrences = asyncio.run(_meet_faults(load, servers, order))
    undelivered = _wait_for_deliveries(servers.url)
    arrivals = target.list_arrivals()
    _print_table(occurrences, load.calls, load, arrivals)
    failures = [
        *_find_violations_of_calls(load),
        *_find_violations_of_messages(load, mock, servers.url),
        *_find_violations_of_deliveries(load, arrivals, occurrences),
        *_list_slow_recoveries(occurrences, load, arrivals),
        *([f"{undelivered} deliveries are left"] if undelivered else []),
        *_find_violations_of_programs(programs),
        *_find_violations_of_audit(load, servers.url),
    ]
    if failures:
        _keep_logs([*programs, target.program], target.log, load, occurrences)
    return failures


def _sync(service: Program, body: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = {"Client-Cert": CLIENT_CERT, "Content-Type": "application/json"}
    connection.request("POST", "/v1/abonnement/sync", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"the first sync failed: {response.read()!r}")
    connection.close()


async def _meet_faults(load: Load, servers: Databases, order: Iterable[str]) -> list[Occurrence]:
    """Inject one fault after the other while the load runs."""
    lags: list[float] = []
    watching = asyncio.create_task(_watch_self(lags))
    calling = asyncio.create_task(load.run())
    occurrences = []
    try:
        for name in order:
            fault = FAULTS[name]
            prepared = time.time()
            lags.clear()
            await asyncio.to_thread(fault.prepare, servers)
            await asyncio.sleep(CALM_SECONDS)
            began = time.time()
            await asyncio.to_thread(fault.act, servers)
            ended = time.time()
            await asyncio.sleep(fault.observed)
            until = time.time()
            await asyncio.to_thread(fault.restore, servers)
            occurrences.append(Occurrence(name, prepared, began, ended, until, time.time() + AROUND_SECONDS, max(lags)))
            print(f"{fault.words}: took {ended - began:.1f} s", file=sys.stderr, flush=True)
    finally:
        watching.cancel()
        load.stop()
        await calling
    return occurrences


async def _watch_self(lags: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(INTERVAL_SECONDS)
        lags.append(time.monotonic() - began - INTERVAL_SECONDS)


def _wait_for_deliveries(url: str) -> int:
    """Return the number of deliveries that have not arrived within the time limit."""
    ends = time.monotonic() + DRAIN_SECONDS
    while (undelivered := run(url, count_waiting)) and time.monotonic() < ends:
        time.sleep(0.5)
    return int(undelivered)


def _find_violations_of_calls(load: Load) -> list[str]:
    wrong = Counter(
        f"{call.kind} returned {call.status}: {call.detail[:200]}"
        for call in load.calls
        if not call.is_success and not call.is_documented_failure
    )
    return [f"{count} times: {text}" for text, count in wrong.most_common(20)] + load.wrong[:20]


def _find_violations_of_messages(load: Load, mock: Program, url: str) -> list[str]:
    readable: dict[str, int | None] = run(url, _list_readable)
    unsettled: list[UnsettledMessage] = run(url, _list_unsettled)
    in_open_e = Counter(message["flowInstanceID"] for message in _get(mock, "/control/messages"))
    settled = {case for case, (_, id_) in load.cases.items() if id_}
    unrecorded = [case for case, (status, _) in load.cases.items() if status in {500, 504}]
    checks = {
        "201, but not in the database": [id_ for id_ in load.messages if id_ not in readable],
        "201, but not on the case exactly once": [case for case in settled if in_open_e[case] != 1],
        "on a case, but not in the database": [case for case in in_open_e if case not in set(readable.values())],
        "on a case more than once": [case for case, count in in_open_e.items() if count > 1],
        "503, but on the case": [case for case, (status, _) in load.cases.items() if status == 503 and in_open_e[case]],
        "left `sending` or `unknown`": [f"case {each.flow_instance_id} {each.state}" for each in unsettled],
    }
    unseen = len(readable) - len(load.messages)
    print(
        f"\n{len(load.messages)} web messages returned 201, {len(settled)} of them to a case. {len(unrecorded)} posts "
        f"failed after Open-E had published, and the record was late. {unseen} messages are readable without a 201."
    )
    return [f"{name}: {len(found)}, as {found[:3]}" for name, found in checks.items() if found]


async def _list_readable(database: Database) -> dict[str, int | None]:
    """Return the cases of the messages that callers can read, by id."""
    table = tables.web_messages
    select = sa.select(table.c.id, table.c.flow_instance_id).where(table.c.created.is_not(None))
    return await database.read(
        short_read(lambda connection: {row.id: row.flow_instance_id for row in connection.execute(select)})
    )


async def _list_unsettled(database: Database) -> list[UnsettledMessage]:
    return await stored.list_unsettled(database, (MessageState.SENDING, MessageState.UNKNOWN), 1000)


def _find_violations_of_deliveries(
    load: Load, arrivals: Sequence[Arrival], occurrences: Sequence[Occurrence]
) -> list[str]:
    received: dict[tuple[str, str], set[int]] = defaultdict(set)
    times: dict[str, list[float]] = defaultdict(list)
    disordered = []
    for arrival in arrivals:
        before = received[arrival.path, arrival.key]
        if arrival.sequence and arrival.sequence - 1 not in before:
            disordered.append(f"{arrival.path} {arrival.key} {arrival.sequence}")
        if arrival.status == 200:
            before.add(arrival.sequence)
            times[arrival.delivery].append(arrival.time)
    again = {delivery: moments for delivery, moments in times.items() if len(moments) > 1}
    unexplained = [
        delivery for delivery, moments in again.items() if not _spans_a_fault(moments[0], moments[-1], occurrences)
    ]
    checks = {
        "event accepted, but not delivered": [
            f"{path} {key} {sequence}"
            for key, sequence in load.events
            for path in PATHS
            if sequence not in received[path, key]
        ],
        "web message accepted, but its event not delivered": [
            id_ for id_ in load.messages if 0 not in received[MESSAGE_PATH, id_]
        ],
        "arrived before an earlier event of the key": disordered,
        "arrived twice without a fault in between": unexplained,
    }
    print(
        f"{len(load.events)} events were accepted; {len(times)} deliveries arrived, {len(again)} of them more than "
        f"once ({sum(map(len, again.values())) - len(again)} arrivals more)."
    )
    return [f"{name}: {len(found)}, as {found[:3]}" for name, found in checks.items() if found]


def _spans_a_fault(first: float, last: float, occurrences: Iterable[Occurrence]) -> bool:
    return any(first <= each.repaired and last >= each.prepared - AROUND_SECONDS for each in occurrences)


def _measure_recoveries(occurrence: Occurrence, load: Load, arrivals: Sequence[Arrival]) -> dict[str, float]:
    """Return the seconds from the end of a fault to the first success after the last failure, per kind of work.

    The value is infinite without a success. A path has recovered when the last delayed delivery has arrived.
    """
    seconds = {
        kind: _measure_recovery_of_calls(occurrence, [call for call in load.calls if call.kind == kind])
        for kind in KINDS
    }
    for path in DELIVERIES:
        seconds[path] = _measure_recovery_of_deliveries(occurrence, path, load, arrivals)
    return seconds


def _measure_recovery_of_calls(occurrence: Occurrence, calls: Iterable[LoadCall]) -> float:
    ended = [call for call in calls if occurrence.ended < call.ended <= occurrence.until]
    failed = max((call.ended for call in ended if not call.is_success), default=occurrence.ended)
    return min((call.ended for call in ended if call.is_success and call.ended > failed), default=math.inf) - (
        occurrence.ended
    )


def _measure_recovery_of_deliveries(
    occurrence: Occurrence, path: str, load: Load, arrivals: Sequence[Arrival]
) -> float:
    first: dict[tuple[str, int], float] = {}
    for arrival in arrivals:
        if arrival.path == path and arrival.status == 200:
            first.setdefault((arrival.key, arrival.sequence), arrival.time)
    accepted = {(id_, 0): moment for id_, moment in load.messages.items()} if path == MESSAGE_PATH else load.events
    begin = occurrence.began - AROUND_SECONDS
    affected = [name for name, moment in accepted.items() if begin <= moment <= occurrence.until]
    resumed = {name: first.get(name, math.inf) for name in affected}
    after = [moment for moment in resumed.values() if moment > occurrence.ended]
    late = [
        resumed[name] for name in affected if resumed[name] in after and resumed[name] - accepted[name] > LATE_SECONDS
    ]
    return max(late, default=min(after, default=math.inf)) - occurrence.ended


def _list_slow_recoveries(occurrences: Iterable[Occurrence], load: Load, arrivals: Sequence[Arrival]) -> list[str]:
    return [
        f"{FAULTS[each.name].words}: {kind} succeeded again only after {seconds:.1f} s"
        for each in occurrences
        for kind, seconds in _measure_recoveries(each, load, arrivals).items()
        if seconds > FAULTS[each.name].limit
    ]


def _find_violations_of_programs(programs: Iterable[Program]) -> list[str]:
    found = []
    for program in programs:
        code = program.process.poll()
        if code is not None:
            found.append(f"{program.name} with pid {program.pid} ended with {code}")
            continue
        if (ready := _fetch_status(program, "/health/ready")) != 200:
            found.append(f"/health/ready of {program.name} returns {ready}")
        if traces := program.count_tracebacks():
            found.append(f"{traces} traces in the log of {program.name} {program.port}")
        if times := program.errors.read_text(errors="replace").count(STUCK_RELEASED):
            found.append(f"{program.name} {program.port} released stuck deliveries {times} times")
    return found


def _find_violations_of_audit(load: Load, url: str) -> list[str]:
    ends, broken = run(url, audit.verify)
    if broken is not None:
        return [f"the audit is broken: {broken.reason}"]
    successful = sum(call.is_success for call in load.calls if call.kind == SYNC)
    entries = ends[SYSTEMS[0]].length
    return [f"{successful} syncs succeeded, and the audit has {entries} entries"] if entries < successful else []


def _print_table(
    occurrences: Sequence[Occurrence], calls: Sequence[LoadCall], load: Load, arrivals: Sequence[Arrival]
) -> None:
    """Print the longest recovery in seconds for each kind of fault and work."""
    heads = [*KINDS, *(f"delivery to {path}" for path in DELIVERIES)]
    ends = "limit | machine's lag | calls that failed"
    print(f"| seconds to recovery, worst | times | took, s | {' | '.join(heads)} | {ends} |")
    print(f"|---|--:|--:|{'--:|' * len(heads)}--:|--:|---|")
    for name, fault in FAULTS.items():
        failures = [each for each in occurrences if each.name == name]
        if not failures:
            continue
        recoveries = [_measure_recoveries(each, load, arrivals) for each in failures]
        worst = [max(each[kind] for each in recoveries) for kind in (*KINDS, *DELIVERIES)]
        failed = Counter(
            f"{call.status} {call.kind}"
            for each in failures
            for call in calls
            if not call.is_success and each.began <= call.ended <= each.until
        )
        took = statistics.mean(each.ended - each.began for each in failures)
        print(
            f"| {fault.words} | {len(failures)} | {took:.1f} | {' | '.join(f'{seconds:.1f}' for seconds in worst)} | "
            f"{fault.limit:g} | {max(each.lag for each in failures):.1f} | "
            f"{', '.join(f'{count} {what}' for what, count in sorted(failed.items())) or 'none'} |"
        )
    sent = Counter(call.kind for call in calls)
    print(f"\nCalls: {', '.join(f'{count} {kind}' for kind, count in sent.items())}.")


def _keep_logs(programs: Iterable[Program], arrivals: Path, load: Load, occurrences: Iterable[Occurrence]) -> None:
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for program in programs:
        shutil.copy(program.errors, LOGS)
    shutil.copy(arrivals, LOGS)
    (LOGS / "calls").write_text("\n".join(map(str, load.calls)))
    (LOGS / "faults").write_text("\n".join(map(str, occurrences)))


def _get(program: Program, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    connection.request("GET", path, headers={"apikey": program.key})
    value = json.loads(connection.getresponse().read())
    connection.close()
    return value


def _fetch_status(program: Program, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


if __name__ == "__main__":
    main()
