"""A queue for benchmarks: systems with receivers, queued events, workers and arrivals."""

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from benchmarks.load import ROOT
from benchmarks.receiver import GATEWAY_KEY
from benchmarks.stage import Program, Stage, free_port
from domain.catalogue import TokenClient
from domain.events import Event
from persistence import outbox, tables
from persistence.database import Database
from persistence.opening import open_database
from persistence.outbox import Publication
from persistence.work import short_read, short_write

ORG_TYPE, ORG_CODE, ENTITY_TYPE = 7, 101, 100
START = datetime(2020, 1, 1, tzinfo=UTC)
PUBLISHERS = 8
LOOPBACK = ("127.0.0.1",)


@dataclass(frozen=True)
class Arrival:
    """One attempt as recorded by the receiver. `status` is 0 if it did not respond; `hash` is that of the body."""

    time: float
    path: str
    delivery: str
    key: str
    hash: str
    sequence: int
    status: int


@dataclass
class ReceiverProgram:
    """A program that receives events, and its log."""

    program: Program
    log: Path
    _read: int = field(default=0)

    def list_arrivals(self) -> list[Arrival]:
        """Return all attempts so far, oldest first."""
        text = self.log.read_text() if self.log.exists() else ""
        lines = [line.split(" ") for line in text.splitlines()]
        return [Arrival(float(when), *fields, int(sequence), int(status)) for when, *fields, sequence, status in lines]

    def count(self) -> int:
        """Return the number of attempts so far."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


def start_receiver(stage: Stage, log: Path, port: int = 0, hosts: Sequence[str] = LOOPBACK) -> ReceiverProgram:
    """Start a receiver on the given port of all hosts, by default a free one. The first host must be 127.0.0.1."""
    port = port or free_port()
    command = [sys.executable, "-m", "benchmarks.receiver", str(port), str(log), *hosts]
    return ReceiverProgram(stage.start("receiver", port, command, {}, folder=ROOT), log)


def build_gateway_credentials(folder: Path, port: int, token_seconds: int) -> dict[str, Any]:
    """Return the columns of systems behind a gateway of the receiver at the port, whose tokens are valid that long."""
    key = folder / "gateway-key"
    key.write_text(GATEWAY_KEY)
    client = TokenClient(f"http://127.0.0.1:{port}/token/{token_seconds}", "budkavle", f"file:{key}")
    return {"headers": {"X-Api-Key": f"file:{key}"}, "oauth2": asdict(client)}


async def prepare(
    database: Database,
    receivers: Mapping[str, int],
    hosts: Sequence[str] = LOOPBACK,
    gateway: Mapping[str, Any] | None = None,
) -> list[str]:
    """Create one system per port, at the hosts in turn, with one subscription per path. Return their ids.

    `gateway` are the columns of systems whose path begins with `/gateway/`.
    """
    await database.migrate()
    ids = [str(UUID(int=place)) for place in range(1, len(receivers) + 1)]

    def insert(connection: sa.Connection) -> None:
        connection.execute(tables.message_types.insert(), {"entity_type": ENTITY_TYPE, "name": "A type"})
        for id_, host, (path, port) in zip(ids, cycle(hosts), receivers.items(), strict=False):
            system = {"id": id_, "name": path, "base_url": f"http://{host}:{port}", "webhook_secrets": []}
            columns = gateway if gateway is not None and path.startswith("/gateway/") else {}
            connection.execute(tables.systems.insert(), system | {"allow_private_addresses": True, **columns})
            subscription = {"system_id": id_, "org_type": ORG_TYPE, "org_code": ORG_CODE, "entity_type": ENTITY_TYPE}
            connection.execute(tables.subscriptions.insert(), subscription | {"webhook_url": path, "start_time": START})

    await database.write(short_write(insert))
    return ids


async def publish(database: Database, keys: Iterable[str], each: int, org_code: int = ORG_CODE) -> None:
    """Publish `each` events of each key, numbered from 0: in order per key, with several keys concurrently."""
    waiting = list(keys)

    async def work() -> None:
        while waiting:
            key = waiting.pop()
            for sequence in range(each):
                event = build_event(key, sequence, org_code)
                await outbox.publish(database, Publication(event, "benchmark", "benchmark"))

    await asyncio.gather(*(work() for _ in range(PUBLISHERS)))


def build_event(key: str, sequence: int, org_code: int = ORG_CODE) -> Event:
    """Return an event about a nonexistent person."""
    return Event(
        str(uuid4()),
        ENTITY_TYPE,
        ORG_TYPE,
        org_code,
        1,
        datetime.now(UTC),
        version=str(sequence),
        identification_type=99,
        identification=key,
    )


def start_worker(stage: Stage, database_url: str, **settings: Any) -> Program:
    """Start a worker in its own process. `settings` are those of `Settings`."""
    port = free_port()
    variables = {"database_url": database_url, "worker_port": port, "log_level": "error", **settings}
    environment = {f"BUDKAVLE_{name.upper()}": str(value) for name, value in variables.items()}
    return stage.start("worker", port, [sys.executable, "-m", "budkavle", "worker"], environment)


async def count_waiting(database: Database) -> int:
    """Return the number of waiting deliveries."""
    count = sa.select(sa.func.count()).select_from(tables.deliveries).where(tables.deliveries.c.state == "waiting")
    return await database.read(short_read(lambda connection: int(connection.execute(count).scalar_one())))


def run(url: str, work: Any) -> Any:
    """Open a database, run the work on it and return the result."""

    async def open_and_run() -> Any:
        database = open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(open_and_run())


def wait_until(condition: Any, seconds: float, description: str) -> None:
    """Wait until the condition is true. Fail after the timeout."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise RuntimeError(f"{description}: not within {seconds:g} s")
        time.sleep(0.05)
