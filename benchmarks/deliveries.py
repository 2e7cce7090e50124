"""Measure deliveries per second and the latency of an event, compared with a typical Python implementation.

Throughput: events are queued; one worker with 100 concurrent calls delivers them to a receiver that takes 20 ms. The
peer is a procrastinate queue on PostgreSQL whose task makes the same call with aiohttp, with the same concurrency.

Latency: 100 events per second are posted to the service at fixed times. The latency is the time from the 202 response
to the arrival, with the worker in a separate process.

Run: python -m benchmarks.deliveries [--events 10000]
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from benchmarks.load import ROOT
from benchmarks.queue_stage import (
    ENTITY_TYPE,
    ORG_CODE,
    ORG_TYPE,
    ReceiverProgram,
    prepare,
    publish,
    run,
    start_receiver,
    start_worker,
    wait_until,
)
from benchmarks.stage import DATABASES, Stage, run_command

IN_FLIGHT = 100
PATH = "/ok/20"
AIM_PER_SECOND = 1500
AIM_P50_MS = 10
AIM_P95_MS = 30
EVENTS_PER_SECOND = 100
LATENCY_SECONDS = 20
WARM_UP = 0.1
"""Fraction of the first arrivals that is ignored because a worker starts."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Deliveries.")
    parser.add_argument("--events", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"### Deliveries\n\n{IN_FLIGHT} calls in flight, a receiver that takes 20 ms, one worker process.\n")
    print(f"| | deliveries/s | p95 of the latency at {EVENTS_PER_SECOND} events/s, ms | p50, ms | not 202 |")
    print("|---|--:|--:|--:|--:|")
    misses = []
    rates: dict[str, float] = {}
    for kind in DATABASES:
        rates[kind] = _measure_throughput(kind, arguments.events)
        median, p95, refused = _measure_latency(kind)
        print(f"| {kind} | {rates[kind]:.0f} | {p95:.0f} | {median:.0f} | {refused} |", flush=True)
        misses += [f"{kind}: {rates[kind]:.0f}/s"] if rates[kind] < AIM_PER_SECOND else []
        misses += [f"{kind}: p50 {median:.0f} ms"] if median > AIM_P50_MS else []
        misses += [f"{kind}: p95 {p95:.0f} ms"] if p95 > AIM_P95_MS else []
    peer = _measure_peer(arguments.events)
    print(f"| procrastinate, PostgreSQL | {peer:.0f} | | | |\n")
    print(", ".join(f"{kind} {rate / peer:.1f} times procrastinate" for kind, rate in rates.items()))
    aims = f"Aims, {AIM_PER_SECOND}/s, p50 within {AIM_P50_MS} ms and p95 within {AIM_P95_MS} ms: "
    print(f"\n{aims}{'not met: ' + '; '.join(misses) if misses else 'met'}")


def _measure_throughput(kind: str, events: int) -> float:
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        target = start_receiver(stage, Path(folder) / "log")
        run(url, lambda database: prepare(database, {PATH: target.program.port}))
        run(url, lambda database: publish(database, map(str, range(events)), 1))
        settings = {"worker_concurrency": IN_FLIGHT, "receiver_concurrency": IN_FLIGHT, "log_level": "info"}
        start_worker(stage, url, **settings)
        return measure_rate(target, events)


def measure_rate(target: ReceiverProgram, events: int) -> float:
    """Return the arrivals per second after the warm-up."""
    wait_until(lambda: target.count() >= events, 300, "the arrival of all events")
    times = sorted(arrival.time for arrival in target.list_arrivals())
    first = int(len(times) * WARM_UP)
    return (len(times) - first - 1) / (times[-1] - times[first])


def _measure_latency(kind: str) -> tuple[float, float, int]:
    """Return the median and p95 in ms, and the number of rejected posts."""
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        target = start_receiver(stage, Path(folder) / "log")
        run(url, lambda database: prepare(database, {"/ok/0": target.program.port}))
        service = stage.start_service(url)
        environment = {"BUDKAVLE_DATABASE_URL": url}
        key = run_command(["api-key", "create", "publisher", "--scope", "publish"], environment).strip()
        start_worker(stage, url)
        responses = asyncio.run(_post(f"{service.url}/v1/besked", key))
        accepted = {key: moment for key, (status, moment) in responses.items() if status == 202}
        wait_until(lambda: target.count() >= len(accepted), 60, "the arrival of all events")
        arrived = {arrival.key: arrival.time for arrival in target.list_arrivals()}
        latencies = [(arrived[key] - moment) * 1000 for key, moment in accepted.items()]
        cuts = statistics.quantiles(latencies, n=20)
        return statistics.median(latencies), cuts[18], len(responses) - len(accepted)


async def _post(url: str, key: str) -> Mapping[str, tuple[int, float]]:
    """Post the events and return status and response time of each, by key."""
    responses: dict[str, tuple[int, float]] = {}
    headers = {"apikey": key, "Content-Type": "application/json"}

    async def post(session: aiohttp.ClientSession, number: int) -> None:
        about = {"identifikationstypeId": 99, "identifikation": str(number), "versionIdentifier": "0"}
        event = {"entityType": ENTITY_TYPE, "orgType": ORG_TYPE, "orgCode": ORG_CODE, "aendringstype": 1, **about}
        async with session.post(url, data=json.dumps(event), headers=headers) as response:
            responses[str(number)] = (response.status, time.time())

    async with aiohttp.ClientSession() as session:
        moments = [number / EVENTS_PER_SECOND for number in range(EVENTS_PER_SECOND * LATENCY_SECONDS)]
        start = time.monotonic()
        tasks = []
        for number, (moment, _) in enumerate(pairwise([*moments, 0])):
            await asyncio.sleep(start + moment - time.monotonic())
            tasks.append(asyncio.create_task(post(session, number)))
        await asyncio.gather(*tasks)
    return responses


def _measure_peer(events: int) -> float:
    """Return the deliveries per second of procrastinate."""
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        target = start_receiver(stage, Path(folder) / "log")
        environment = {
            "PEER_DATABASE_URL": stage.create_database("PostgreSQL"),
            "PEER_URL": f"{target.program.url}{PATH}",
        }
        command = [sys.executable, "-m", "benchmarks.peers.procrastinate_webhooks"]
        filling = stage.spawn("fill", 0, [*command, "fill", str(events)], environment, ROOT)
        if filling.process.wait(120) != 0:
            raise RuntimeError(f"procrastinate was not filled: {filling.errors.read_text()[-500:]}")
        stage.spawn("work", 0, [*command, "work", str(IN_FLIGHT)], environment, ROOT)
        return measure_rate(target, events)


if __name__ == "__main__":
    main()
