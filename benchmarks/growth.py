"""Compare the service on a large database with the service on a small one, which shows what slows down with growth.

Both databases have messages, audit entries and waiting deliveries, written directly. The operations alternate between
the two, one caller at a time, so other load on the machine affects both alike. The output contains the medians and
their ratios: 1 if an operation does not slow down.

Run: python -m benchmarks.growth [--small 10000] [--large 1000000] [--waiting 200000] [--database SQLite]. The exit code
is 1 if the large database has less than 0.85 of the speed of the small one.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa

from benchmarks import metrics_scrape
from benchmarks.stage import DATABASES, Program, Stage
from domain import audit as domain
from domain.audit import AuditEntry
from persistence import audit, tables
from persistence.database import Database
from persistence.opening import open_database
from persistence.queue import housekeeping
from persistence.queue.housekeeping import FIRST_EVENT
from persistence.work import large_write

AIM = 0.85
ROUNDS = 60
BATCH = 10_000
PARTIES = 100
CHAINS = 300
START = datetime(2026, 1, 1, tzinfo=UTC)
Operation = Callable[[], Awaitable[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed on a large and on a small database.")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=200_000)
    parser.add_argument("--database", choices=DATABASES)
    arguments = parser.parse_args()
    sizes = (arguments.small, min(arguments.small, arguments.waiting)), (arguments.large, arguments.waiting)
    print(f"### {arguments.large} messages and audit entries, {arguments.waiting} waiting deliveries\n")
    print("| | operation | small, ms | large, ms | ratio | aim |")
    print("|---|---|--:|--:|--:|--:|", flush=True)
    kinds = [arguments.database] if arguments.database else DATABASES
    missed = [f"{kind}: {name}" for kind in kinds for name in _measure(kind, sizes)]
    if missed:
        sys.exit(f"below {AIM}: {', '.join(missed)}")


def _measure(kind: str, sizes: tuple[tuple[int, int], tuple[int, int]]) -> list[str]:
    """Print the figures of a kind of database. Return the operations that miss the aim."""
    with Stage() as stage:
        urls = [stage.create_database(kind) for _ in sizes]
        for url, (number, waiting) in zip(urls, sizes, strict=True):
            asyncio.run(_fill(url, number, waiting))
        services = [stage.start_service(url) for url in urls]
        figures = asyncio.run(_time_all(urls, services, [number for number, _ in sizes]))
    missed = []
    for name, (small, large) in figures.items():
        print(f"| {kind} | {name} | {small:.2f} | {large:.2f} | {small / large:.2f} | {AIM} |", flush=True)
        if small / large < AIM:
            missed.append(name)
    return missed


async def _time_all(urls: list[str], services: list[Program], numbers: list[int]) -> dict[str, tuple[float, float]]:
    """Return the medians of each operation in milliseconds: on the small and on the large database."""
    databases = [open_database(url) for url in urls]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        pair = [_list_operations(client, *each) for each in zip(databases, services, numbers, strict=True)]
        figures = {}
        for name in pair[0]:
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for operations, found in zip(pair, times, strict=True):
                    start = time.perf_counter()
                    await operations[name]()
                    found.append((time.perf_counter() - start) * 1000)
            figures[name] = (statistics.median(times[0]), statistics.median(times[1]))
    for database in databases:
        await database.close()
    return figures


def _list_operations(
    client: httpx.AsyncClient, database: Database, service: Program, number: int
) -> dict[str, Operation]:
    headers = {"apikey": service.key}

    def get(path: str) -> Operation:
        async def call() -> None:
            (await client.get(f"{service.url}{path}", headers=headers)).raise_for_status()

        return call

    async def create() -> None:
        message = {"message": "A message.", "oepInstance": "internal"}
        message |= {"externalReferences": [{"key": "errandNumber", "value": "value-new"}], "partyId": str(UUID(int=7))}
        (await client.post(f"{service.url}/webmessages", headers=headers, json=message)).raise_for_status()

    now, recent = datetime.now(UTC), START + timedelta(seconds=number - 1000)
    return {
        "get": get(f"/webmessages/{_build_message_id(1)}"),
        "list by party": get(f"/webmessages/recipients/{UUID(int=1)}?limit=20"),
        "list by reference": get("/webmessages/external-references/errandNumber/value-17"),
        "create": create,
        "/metrics": get("/metrics"),
        "audit list": lambda: audit.list_page(database, after=100, limit=20),
        "audit list by system": lambda: audit.list_page(database, after=0, limit=20, chain=str(UUID(int=2))),
        "audit list by time": lambda: audit.list_page(database, after=0, limit=20, since=recent),
        "release stuck deliveries": lambda: housekeeping.release_stuck(database, now),
        "prune events": lambda: housekeeping.prune_events(database, now, FIRST_EVENT, 1000),
    }


async def _fill(url: str, number: int, waiting: int) -> None:
    database = open_database(url)
    await metrics_scrape.fill(database, waiting)
    await database.write(large_write(_insert_messages), number)
    await database.write(large_write(_insert_audit), number)
    await database.close()


def _insert_messages(connection: sa.Connection, number: int) -> None:
    for places in _iterate_batches(number):
        ids = {place: (_build_message_id(place), START + timedelta(seconds=place)) for place in places}
        row = {"message": "A message.", "external_references": [], "oep_instance": "internal", "attachments": []}
        row |= {"state": "stored"}
        connection.execute(
            tables.web_messages.insert(),
            [
                row | {"id": id_, "party_id": str(UUID(int=place % PARTIES)), "created": created}
                for place, (id_, created) in ids.items()
            ],
        )
        connection.execute(
            tables.web_message_references.insert(),
            [
                {"key": "errandNumber", "value": f"value-{place}", "created": created, "message_id": id_}
                for place, (id_, created) in ids.items()
            ],
        )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("analyze")


def _insert_audit(connection: sa.Connection, number: int) -> None:
    """Append entries to many chains in turn."""
    heads = {str(UUID(int=place)): domain.ChainHead(domain.FIRST_HASH, 0) for place in range(CHAINS)}
    for places in _iterate_batches(number):
        rows = []
        for place in places:
            name = str(UUID(int=place % CHAINS))
            entry = AuditEntry(name, "call", START + timedelta(seconds=place), "apply", "-", "answered", "benchmark")
            length = heads[name].length + 1
            hash_ = domain.hash_entry(entry, "{}", length, heads[name].hash)
            heads[name] = domain.ChainHead(hash_, length)
            row = {"chain": name, "number": length, "kind": "call", "time": entry.time, "operation": "apply"}
            row |= {"caller": "-", "outcome": "answered", "request_id": "benchmark", "detail": "{}", "hash": hash_}
            rows.append(row)
        connection.execute(tables.audit_entries.insert(), rows)
    ends = [{"name": name, "head": head.hash, "length": head.length} for name, head in heads.items() if head.length]
    connection.execute(tables.chains.insert(), ends)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("analyze audit_entries")


def _iterate_batches(number: int) -> Iterator[list[int]]:
    places = iter(range(number))
    while batch := list(islice(places, BATCH)):
        yield batch


def _build_message_id(place: int) -> str:
    # Spread over the index, like random ids.
    return str(UUID(int=(place * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))


if __name__ == "__main__":
    main()
