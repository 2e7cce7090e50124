"""Measure the memory of the service before, during and one minute after each kind of load.

Each load has a service process of its own, which first serves every operation once. Afterwards all processes rest
together. Memory is the resident set in MB of 10^6 bytes; the peak is the kernel's. The peak of large bodies may exceed
the idle value by the bound of bodies (`BUDKAVLE_BODY_BYTES`) and 100 MB. Exits with 1 where an aim is not met.

Run: python -m benchmarks.memory_after_load [--database SQLite] [--load syncs]
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import orjson

from benchmarks import systems
from benchmarks.large_bodies import forget_peak, read_resident_mb
from benchmarks.large_client import Client
from benchmarks.load import Job, Result, build_request, create_requests, run_load
from benchmarks.memory_over_time import CLIENT_CERT, FINGERPRINT, SYSTEM
from benchmarks.queue_stage import run
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings, run_command
from budkavle.settings import Settings

CASE = 1068
CONNECTIONS = 16
SECONDS = 5.0
"""Duration of the loads of small requests."""

LARGE_POSTS = 8
SYNCS, ENTRIES = 4, 50_000
REST_SECONDS = 60
AIM_KEPT_MB = 40
AIM_ABOVE_BOUND_MB = 100


@dataclass
class Subject:
    """A service process, and what was measured of it."""

    database: str
    load: str
    service: Program
    publisher: str
    idle: float = 0.0
    peak: float = 0.0
    ended: float = 0.0
    """The time when the load ended."""
    kept: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of the service after each kind of load.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--load", choices=LOADS, action="append")
    arguments = parser.parse_args()
    print(f"### Memory before, during and {REST_SECONDS} s after each load\n")
    with Stage() as stage:
        mock = stage.start_mock_open_e()
        subjects = [
            _measure(stage, mock, database, load)
            for database in arguments.database or DATABASES
            for load in arguments.load or LOADS
        ]
        for subject in subjects:
            time.sleep(max(0.0, subject.ended + REST_SECONDS - time.monotonic()))
            subject.kept = read_resident_mb(subject.service) - subject.idle
    missed = _print(subjects)
    print(f"\nAims: {'not met: ' + '; '.join(missed) if missed else 'met'}")
    sys.exit(bool(missed))


def _measure(stage: Stage, mock: Program, database: str, load: str) -> Subject:
    url = stage.create_database(database)
    service = stage.start_service(url, trusted_proxies="127.0.0.1", **open_e_settings(mock))
    run(url, lambda opened: systems.prepare(opened, FINGERPRINT))
    publisher = run_command(["api-key", "create", "publisher", "--scope", "publish"], service.settings).strip()
    subject = Subject(database, load, service, publisher)
    for warm_up in (_post_and_get, _publish_on_case, _publish_events):
        warm_up(subject, 0.5)
    _sync(subject, 10, "/first")
    subject.idle = read_resident_mb(service)
    forget_peak(service)
    LOADS[load](subject)
    subject.peak, subject.ended = read_resident_mb(service, peak=True), time.monotonic()
    return subject


def _post_and_get(subject: Subject, seconds: float = SECONDS) -> None:
    service = subject.service
    created = _run_load(service, create_requests(service.key), seconds)
    _run_load(service, [build_request("GET", path, service.key) for path in created.locations], seconds)
    party = "81471222-5798-11e9-ae24-000000000001"
    _run_load(service, [build_request("GET", f"/webmessages/recipients/{party}?limit=100", service.key)], seconds)


def _publish_on_case(subject: Subject, seconds: float = SECONDS) -> None:
    _run_load(subject.service, create_requests(subject.service.key, CASE), seconds)


def _publish_events(subject: Subject, seconds: float = SECONDS) -> None:
    event = {"entityType": systems.ENTITY_TYPES[0], "orgType": systems.ORG_TYPE, "orgCode": 1, "aendringstype": 1}
    event |= {"identifikationstypeId": 1, "versionIdentifier": "1"}
    bodies = [orjson.dumps(event | {"identifikation": str(number)}).decode() for number in range(512)]
    _run_load(
        subject.service, [build_request("POST", "/v1/besked", subject.publisher, body) for body in bodies], seconds
    )


def _run_load(service: Program, requests: list[str], seconds: float) -> Result:
    result = run_load(Job(service.port, requests, CONNECTIONS, seconds))
    if result.refused:
        raise RuntimeError(f"{result.refused} of {result.requests} requests got no response of class 2xx")
    return result


def _post_large_bodies(subject: Subject, kind: str, case: int | None) -> None:
    service = subject.service
    with ExitStack() as opened:
        clients = [opened.enter_context(Client(service.port, service.key, kind, case=case)) for _ in range(LARGE_POSTS)]
        with ThreadPoolExecutor(LARGE_POSTS) as threads:
            responses = list(threads.map(lambda client: client.send(), clients))
    statuses = {response.status for response in responses}
    # A body that waited too long for the bound is rejected.
    if not statuses <= {201, 503}:
        raise RuntimeError(f"the service answered {sorted(statuses)}")


def _sync_repeatedly(subject: Subject) -> None:
    for number in range(SYNCS):
        _sync(subject, ENTRIES, f"/webhook{number % 2}")


def _sync(subject: Subject, count: int, path: str) -> None:
    entries: list[dict[str, Any]] = [
        {
            "orgType": systems.ORG_TYPE,
            "orgCode": code,
            "entityType": systems.ENTITY_TYPES[code % len(systems.ENTITY_TYPES)],
            "webhookUrl": path,
            "startDato": "2023-01-01T00:00:00",
        }
        for code in range(count)
    ]
    connection = HTTPConnection("127.0.0.1", subject.service.port, timeout=120)
    headers = {"Client-Cert": CLIENT_CERT, "Content-Type": "application/json"}
    body = orjson.dumps({"systemIdentifier": SYSTEM, "abonnementer": entries})
    connection.request("POST", "/v1/abonnement/sync", body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"the service answered {response.status}: {answer[:300]!r}")


LOADS: dict[str, Callable[[Subject], None]] = {
    "create, get, list": _post_and_get,
    "create on a case": _publish_on_case,
    "events": _publish_events,
    "large JSON bodies": lambda subject: _post_large_bodies(subject, "JSON", None),
    "large forms on a case": lambda subject: _post_large_bodies(subject, "form", CASE),
    "syncs": _sync_repeatedly,
}


def _print(subjects: list[Subject]) -> list[str]:
    """Print a row per load and return the aims that are not met."""
    bound = Settings.model_fields["body_bytes"].default / 1e6
    print(f"The bound of bodies is {bound:.0f} MB.\n")
    print("| | | MB idle | MB peak above idle | aim | MB retained | aim |\n|---|---|--:|--:|--:|--:|--:|")
    missed = []
    for subject in subjects:
        name = f"{subject.load}, {subject.database}"
        peak = subject.peak - subject.idle
        most = bound + AIM_ABOVE_BOUND_MB if subject.load.startswith("large") else None
        print(
            f"| {subject.load} | {subject.database} | {subject.idle:.0f} | {peak:.0f} | "
            f"{'' if most is None else f'{most:.0f}'} | {subject.kept:.0f} | {AIM_KEPT_MB} |"
        )
        if most is not None and peak > most:
            missed.append(f"{name}: peak {peak:.0f} MB")
        if subject.kept > AIM_KEPT_MB:
            missed.append(f"{name}: kept {subject.kept:.0f} MB")
    return missed


if __name__ == "__main__":
    main()
