"""Compare create and get of Budkavle with the strongest peers, warm, in turns, with 16 connections and durable commits.

Each program is one process with a database of its own. Before the first round each refuses wrong keys and invalid
bodies, shows that its commits are on disk, and is warmed up: V8 doubles its speed within seconds. `POST /v1/besked`
with one subscription is measured for Budkavle alone, and compared with its own create. A run on one database with
`--rounds 3 --seconds 1` takes two to three minutes. Exits with 1 where an aim is not met.

Run: python -m benchmarks.throughput [--database SQLite] [--rounds 5] [--seconds 2.5]
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.load import Job, Result, build_request, create_requests, run_load
from benchmarks.peer_programs import NODE_PEERS, PYTHON_PEERS, check_program, install_node_peers, start_peer
from benchmarks.processor import OtherWork, read_processor_seconds
from benchmarks.queue_stage import ENTITY_TYPE, ORG_CODE, ORG_TYPE, prepare, run
from benchmarks.stage import DATABASES, Program, Stage, free_port, run_command

CONNECTIONS = 16
OWN = "Budkavle"
PEERS = (*NODE_PEERS, *PYTHON_PEERS)
CREATE, GET, PUBLISH = "create", "get", "POST /v1/besked"
OPERATIONS = {CREATE: (OWN, *PEERS), PUBLISH: (OWN,), GET: (OWN, *PEERS)}
"""The programs of each operation."""

EXPRESS_AIMS = {("SQLite", CREATE): 1.6, ("SQLite", GET): 1.8, ("PostgreSQL", CREATE): 2.0, ("PostgreSQL", GET): 2.0}
PYTHON_AIM = 1.0
"""The smallest ratios of Budkavle's requests per second to those of peers; Fastify is reported only."""
PUBLISH_AIM = 0.8
"""The smallest ratio of `POST /v1/besked` with one subscription to create."""


@dataclass(frozen=True)
class Sample:
    """One round. `cpu` and `backend_cpu` are microseconds per request of the program and of PostgreSQL."""

    load: Result
    cpu: float
    backend_cpu: float


Table = dict[tuple[str, str], list[Sample]]
"""The samples of each operation and program, one per round."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare create and get with the peers.")
    parser.add_argument("--database", choices=DATABASES, action="append", help="By default both.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="Per program, operation and round.")
    parser.add_argument("--warm-up", type=float, default=5.0, help="Seconds per program and operation.")
    arguments = parser.parse_args()
    install_node_peers()
    print(
        f"### Throughput\n\n{CONNECTIONS} connections, one process each, durable commits, {arguments.warm_up:g} s of "
        f"warm-up; medians of {arguments.rounds} rounds of {arguments.seconds:g} s, in turns. CPU is per request. "
        f"Ratio: Budkavle's requests/s divided by the peer's in the same round, median (lowest to highest). "
        f"CPU ratio: the peer's CPU divided by Budkavle's, which other work on the machine affects less.\n"
    )
    misses = []
    for database in arguments.database or DATABASES:
        table, tracebacks = _measure(database, arguments.rounds, arguments.seconds, arguments.warm_up)
        misses += _print(database, table)
        if tracebacks:
            misses.append(f"{database}: {tracebacks} tracebacks in the log of Budkavle")
    print(f"Aims: {'not met: ' + '; '.join(misses) if misses else 'met'}")
    sys.exit(bool(misses))


def _measure(database: str, rounds: int, seconds: float, warm_up: float) -> tuple[Table, int]:
    """Return the samples, and the number of tracebacks in the log of Budkavle."""
    with Stage() as stage:
        programs, publisher_key = _start(stage, database)
        paths: dict[str, list[str]] = {}

        def load(operation: str, name: str, duration: float) -> Result:
            program = programs[name]
            if operation == CREATE:
                requests = create_requests(program.key)
            elif operation == PUBLISH:
                requests = _publish_requests(publisher_key)
            else:
                requests = [build_request("GET", path, program.key) for path in paths[name]]
            result = run_load(Job(program.port, requests, CONNECTIONS, duration))
            if operation == CREATE:
                paths[name] = result.locations
            return result

        for operation, names in OPERATIONS.items():
            for name in names:
                load(operation, name, warm_up)
        table: Table = {}
        with OtherWork(stage.postgresql_pid) as other:
            for turn in range(rounds):
                for operation, names in OPERATIONS.items():
                    for place in range(len(names)):
                        name = names[(turn + place) % len(names)]
                        pid = programs[name].pid
                        sample = _sample(partial(load, operation, name, seconds), pid, stage.postgresql_pid)
                        table.setdefault((operation, name), []).append(sample)
        print(f"{database}: other processes used {other.share:.0%} of all cores while the rounds ran.\n")
        return table, programs[OWN].count_tracebacks()


def _start(stage: Stage, database: str) -> tuple[dict[str, Program], str]:
    """Start and check all programs. Return them by name, and the key of a publisher in Budkavle."""
    urls = {name: stage.create_database(database) for name in (OWN, *PEERS)}
    run(urls[OWN], lambda opened: prepare(opened, {"/ok": free_port()}))
    programs = {name: start_peer(stage, name, urls[name]) for name in PEERS} | {OWN: stage.start_service(urls[OWN])}
    for name, program in programs.items():
        check_program(name, program, urls[name])
    command = ["api-key", "create", "publisher", "--scope", "publish"]
    return programs, run_command(command, {"BUDKAVLE_DATABASE_URL": urls[OWN]}).strip()


def _publish_requests(key: str, count: int = 512) -> list[str]:
    """Return requests that publish events with different identifications, each with one subscription."""
    event = {"entityType": ENTITY_TYPE, "orgType": ORG_TYPE, "orgCode": ORG_CODE, "aendringstype": 1}
    event |= {"identifikationstypeId": 99, "versionIdentifier": "0"}
    bodies = (json.dumps(event | {"identifikation": str(number)}) for number in range(count))
    return [build_request("POST", "/v1/besked", key, body) for body in bodies]


def _sample(load: Callable[[], Result], pid: int, postgresql_pid: int | None) -> Sample:
    pids = [pid, *([postgresql_pid] if postgresql_pid else [])]
    before = [read_processor_seconds(each) for each in pids]
    result = load()
    used = [
        (read_processor_seconds(each) - start) * 1e6 / max(result.requests, 1)
        for each, start in zip(pids, before, strict=True)
    ]
    return Sample(result, used[0], used[1] if postgresql_pid else 0.0)


def _print(database: str, table: Table) -> list[str]:
    """Print the table of one database, and return the aims that are not met."""
    heads = ("requests/s", "p50 ms", "p99 ms", "CPU µs", "PostgreSQL µs", "ratio", "aim", "CPU ratio", "not 2xx")
    print(f"| {database} | | {' | '.join(heads)} |\n|---|---|{'--:|' * len(heads)}")
    misses = []
    for operation, names in OPERATIONS.items():
        for name in names:
            samples = table[operation, name]
            refused = sum(sample.load.refused for sample in samples)
            figures = [
                f"{median(sample.load.per_second for sample in samples):.0f}",
                f"{median(sample.load.p50 for sample in samples):.1f}",
                f"{median(sample.load.p99 for sample in samples):.1f}",
                f"{median(sample.cpu for sample in samples):.0f}",
                f"{median(sample.backend_cpu for sample in samples):.0f}" if database == "PostgreSQL" else "",
            ]
            if operation == PUBLISH or name != OWN:
                other = (CREATE, OWN) if operation == PUBLISH else (operation, name)
                aim = _find_aim(database, operation, name)
                pairs = list(zip(table[operation, OWN], table[other], strict=True))
                ratios = [own.load.per_second / max(base.load.per_second, 0.001) for own, base in pairs]
                cpu_ratio = median(base.cpu / own.cpu for own, base in pairs)
                figures += [f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
                figures += [f"{aim:g}" if aim else "", f"{cpu_ratio:.2f}"]
                if aim and median(ratios) < aim:
                    misses.append(
                        f"{operation}, {database}: {median(ratios):.2f} of {CREATE if operation == PUBLISH else name}"
                    )
            else:
                figures += ["", "", ""]
            print(f"| {operation} | {name} | {' | '.join(figures)} | {refused} |")
            if refused:
                misses.append(f"{operation}, {database}: {refused} responses of {name} other than 2xx")
    print(flush=True)
    return misses


def _find_aim(database: str, operation: str, name: str) -> float | None:
    if operation == PUBLISH:
        return PUBLISH_AIM
    if name == "Express":
        return EXPRESS_AIMS[database, operation]
    return PYTHON_AIM if name in PYTHON_PEERS else None


if __name__ == "__main__":
    main()
