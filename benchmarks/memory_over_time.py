"""Measure the memory of the service and its worker under mixed traffic over time, to see whether it levels off.

Each database has one service, worker and client; all run concurrently. Each client sends about 35 requests per second:
it posts messages (some with files, some with a case), gets, lists and deletes them, syncs subscriptions and publishes
events, which the worker delivers. Some requests are rejected, and `/metrics` is scraped. The number of rows grows, but
the size of each response does not. A tenth of the requests have an access token, half of them one that was never used
before. The resident set is sampled every 10 seconds; the growth is the slope of the regression line of a window.

Run: python -m benchmarks.memory_over_time [--minutes 12] [--windows 4] [--database SQLite]. The exit code is 1 if the
service grows faster than the target in the last window, or if a request fails.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import uvloop

from benchmarks import queue_stage, systems
from benchmarks.large_bodies import read_resident_mb
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings, run_command
from benchmarks.systems import SYSTEM_IDS
from benchmarks.tokens import BenchmarkIssuer
from budkavle.demo.subscriptions import CLIENT_CERT, FINGERPRINT
from persistence.database import Database

PER_SECOND = 35
SAMPLE_SECONDS = 10.0
SYSTEM = SYSTEM_IDS[0]
ORG_CODES = 20
CASE = 1068
FILE_BYTES = 20_000
KEPT = 200
"""The number of latest messages, which are read, listed and deleted."""

AIM = 0.5
"""Maximum growth of the service in the last window, in MB per minute."""

Call = tuple[str, str, dict[str, Any]]
"""Method, path and arguments of a request."""


@dataclass
class Subject:
    """One service under load with its worker. Memory is in MB, by seconds since the start of the load."""

    kind: str
    service: Program
    worker: Program
    keys: dict[str, str]
    issuer: BenchmarkIssuer
    seconds: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=lambda: {"service": [], "worker": []})
    statuses: Counter[str] = field(default_factory=Counter)

    def sample(self, second: float) -> None:
        """Sample the resident sets."""
        self.seconds.append(second)
        self.memory["service"].append(read_resident_mb(self.service))
        self.memory["worker"].append(read_resident_mb(self.worker))


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory under mixed traffic.")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--windows", type=int, default=4, help="Number of windows for which the growth is printed.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    arguments = parser.parse_args()
    print(f"### Memory under {PER_SECOND} mixed requests per second\n", flush=True)
    with Stage() as stage, tempfile.TemporaryDirectory(prefix="budkavle-") as folder:
        mock = stage.start_mock_open_e()
        receiver = queue_stage.start_receiver(stage, Path(folder) / "log")
        kinds = arguments.database or DATABASES
        subjects = [_start(stage, kind, mock, receiver.program, Path(folder)) for kind in kinds]
        uvloop.run(_load(subjects, arguments.minutes * 60))
        arrived = receiver.count()
        tracebacks = sum(subject.service.count_tracebacks() + subject.worker.count_tracebacks() for subject in subjects)
    missed = _print(subjects, arguments.windows)
    print(f"\nDelivered: {arrived}. Traces in the logs: {tracebacks}.")
    print(
        f"\nAim, at most {AIM} MB per minute in the last window: {'not met: ' + '; '.join(missed) if missed else 'met'}"
    )
    sys.exit(1 if missed or tracebacks else 0)


def _start(stage: Stage, kind: str, mock: Program, receiver: Program, folder: Path) -> Subject:
    url = stage.create_database(kind)
    issuer = BenchmarkIssuer()
    issuers = issuer.write_files(Path(tempfile.mkdtemp(dir=folder)))
    service = stage.start_service(url, trusted_proxies="127.0.0.1", issuers=issuers, **open_e_settings(mock))
    queue_stage.run(url, lambda database: _prepare(database, receiver.url))
    publish_key = run_command(["api-key", "create", "publisher", "--scope", "publish"], service.settings).strip()
    keys = {"messages": service.key, "publish": publish_key}
    return Subject(kind, service, queue_stage.start_worker(stage, url), keys, issuer)


async def _prepare(database: Database, receiver: str) -> None:
    await systems.prepare(database, FINGERPRINT, receiver)


async def _load(subjects: list[Subject], seconds: float) -> None:
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for subject in subjects:
            group.create_task(_send(subject, start + seconds))
        while (second := time.monotonic() - start) < seconds:
            for subject in subjects:
                subject.sample(second)
            await asyncio.sleep(SAMPLE_SECONDS)


async def _send(subject: Subject, ends: float) -> None:
    """Send the requests at their times, each in its own task."""
    running: set[asyncio.Task[None]] = set()
    client = _Client(subject)
    start = time.monotonic()
    async with aiohttp.ClientSession(subject.service.url) as session:
        for number, call in enumerate(client.iterate_calls()):
            due = start + number / PER_SECOND
            if due >= ends:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(client.send(session, call))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


class _Client:
    """The requests of one client, in rotation."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._certificate = {"Client-Cert": CLIENT_CERT}
        self._caller = {"apikey": subject.keys["messages"]}
        self._publisher = {"apikey": subject.keys["publish"]}
        self._token = _bear(subject.issuer.create_token())
        self._messages: deque[str] = deque(maxlen=KEPT)
        self._files: deque[str] = deque(maxlen=KEPT)
        self._file = os.urandom(FILE_BYTES)

    def iterate_calls(self) -> Iterator[Call]:
        """Yield requests endlessly. A round has about 70 and takes two seconds."""
        for number in itertools.count():
            for place in range(10):
                key = f"{number}-{place}"
                yield "POST", "/webmessages", {"json": self._build_message(key)}
                yield "GET", self._get_latest(), {}
                yield "GET", f"/webmessages/external-references/errandNumber/{key}", {}
                token = self._token if place % 2 else _bear(self._subject.issuer.create_token())
                yield "GET", self._get_latest(), {"headers": token}
                yield "POST", "/v1/besked", {"json": _build_event(place), "headers": self._publisher}
            for place in range(4):
                key = f"{number}-file-{place}"
                encoded = base64.b64encode(self._file).decode()
                attachments = [{"fileName": f"{place}.bin", "base64Data": encoded} for _ in range(2)]
                yield "POST", "/webmessages", {"json": {**self._build_message(key), "attachments": attachments}}
                yield "POST", "/webmessages", {"data": self._build_form(key)}
            yield "GET", self._files[-1] if self._files else "/webmessages", {}
            yield "POST", "/webmessages", {"json": self._build_message(f"{number}-case", case=True)}
            yield "DELETE", self._messages.popleft() if self._messages else "/webmessages", {}
            yield "GET", f"/webmessages/recipients/{_build_party(number)}?limit=20", {}
            yield "POST", "/v1/abonnement/sync", {"json": _build_subscriptions(number), "headers": self._certificate}
            yield "GET", f"/v1/abonnement?systemIdentifier={SYSTEM}", {"headers": self._certificate}
            yield "GET", f"/v1/abonnement/beskeder?systemIdentifier={SYSTEM}", {"headers": self._certificate}
            # Rejected requests: unknown keys and bad tokens (a new one each time), no key, violations, unknown path.
            yield "GET", self._get_latest(), {"headers": {"apikey": f"unknown-{uuid4()}"}}
            bad = _bear(f"{self._subject.issuer.create_token()}A")
            yield "GET", self._get_latest(), {"headers": bad}
            yield "POST", "/webmessages", {"json": {"message": "", "unknown": number}}
            yield (
                "POST",
                "/v1/abonnement/sync",
                {"json": _build_subscriptions(number), "headers": {"Client-Cert": "none"}},
            )
            yield "GET", f"/none/{uuid4()}", {}
            yield "GET", "/metrics" if number % 5 == 0 else "/health/ready", {}

    async def send(self, session: aiohttp.ClientSession, call: Call) -> None:
        """Send a request and remember the created resource."""
        method, path, arguments = call
        try:
            async with session.request(method, path, **{"headers": self._caller, **arguments}) as response:
                await response.read()
                self._subject.statuses[f"{response.status // 100}xx"] += 1
                location = response.headers.get("Location")
        except (aiohttp.ClientError, OSError):
            self._subject.statuses["failed"] += 1
            return
        if location is not None:
            self._messages.append(location)
            if "data" in arguments:
                self._files.append(location)

    def _get_latest(self) -> str:
        return self._messages[-1] if self._messages else "/webmessages/none"

    def _build_message(self, key: str, *, case: bool = False) -> dict[str, Any]:
        reference = {"key": "flowInstanceId", "value": str(CASE)} if case else {"key": "errandNumber", "value": key}
        return {"partyId": _build_party(len(key)), "message": f"About {key}.", "externalReferences": [reference]}

    def _build_form(self, key: str) -> aiohttp.FormData:
        form = aiohttp.FormData()
        form.add_field("message", json.dumps(self._build_message(key)), content_type="application/json")
        form.add_field("attachments", self._file, filename="a.bin", content_type="application/octet-stream")
        return form


def _bear(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _build_party(number: int) -> str:
    return f"81471222-5798-11e9-ae24-{number % 100:012x}"


def _build_event(org_code: int) -> dict[str, Any]:
    types = systems.ENTITY_TYPES
    return {
        "entityType": types[org_code % len(types)],
        "orgType": systems.ORG_TYPE,
        "orgCode": org_code,
        "aendringstype": 1,
        "identifikationstypeId": 1,
        "identifikation": str(org_code),
        "versionIdentifier": "1",
        "body": {"text": "x" * 200},
    }


def _build_subscriptions(number: int) -> dict[str, Any]:
    """Return subscriptions; the paths of the second half change in every fourth sync."""
    types = systems.ENTITY_TYPES
    entries = [
        {
            "orgType": systems.ORG_TYPE,
            "orgCode": code,
            "entityType": types[code % len(types)],
            "webhookUrl": f"/ok/{0 if code < ORG_CODES // 2 else number // 4 % 2}",
            "startDato": "2023-01-01T00:00:00",
        }
        for code in range(ORG_CODES)
    ]
    return {"systemIdentifier": SYSTEM, "abonnementer": entries}


def _print(subjects: list[Subject], windows: int) -> list[str]:
    """Print a row per program and return the missed targets."""
    length = (subjects[0].seconds[-1] + SAMPLE_SECONDS) / windows
    names = [f"{length * place / 60:.1f}-{length * (place + 1) / 60:.1f} min" for place in range(windows)]
    print(f"| | MB at the start | {' | '.join(f'MB/min, {name}' for name in names)} | MB at the end | responses |")
    print(f"|---|--:|{'--:|' * windows}--:|---|")
    missed = []
    for subject in subjects:
        responses = ", ".join(f"{count} {status}" for status, count in sorted(subject.statuses.items()))
        missed += [f"{subject.kind}: {responses}"] if subject.statuses["5xx"] or subject.statuses["failed"] else []
        for name, memory in subject.memory.items():
            slopes = [
                _compute_slope(list(zip(subject.seconds, memory, strict=True)), length * place, length * (place + 1))
                for place in range(windows)
            ]
            cells = [f"{memory[0]:.1f}", *(f"{slope:+.2f}" for slope in slopes), f"{memory[-1]:.1f}"]
            print(f"| {name}, {subject.kind} | {' | '.join(cells)} | {responses if name == 'service' else ''} |")
            if slopes[-1] > AIM:
                missed.append(f"{name}, {subject.kind}: {slopes[-1]:.2f} MB/min")
    return missed


def _compute_slope(samples: list[tuple[float, float]], begin: float, end: float) -> float:
    """Return the growth of the samples in a window, in MB per minute."""
    inside = [(second / 60, memory) for second, memory in samples if begin <= second < end]
    if len(inside) < 2:
        # A regression line needs two samples.
        return 0.0
    return statistics.linear_regression(*zip(*inside, strict=True)).slope


if __name__ == "__main__":
    main()
