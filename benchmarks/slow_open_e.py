"""Send 200 concurrent posts with a case while Open-E takes 200 ms per call; measure the share of the possible rate.

The limiter allows one concurrent call per thread, each taking 200 ms. A probe requests the health endpoint at the same
time.

Run: python -m benchmarks.slow_open_e [--seconds 5]
"""

import argparse
import http.client
import json

from benchmarks.load import Job, Result, build_request, create_requests, run_load
from benchmarks.probe import watching
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings
from budkavle.settings import Settings

POSTS = 200
CALL_SECONDS = 0.2
AIM_SHARE = 0.8
AIM_HEALTH_MS = 50
CASE = 1068
THREADS = Settings.model_fields["open_e_threads"].default
ALLOWED = THREADS / CALL_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description="A slow Open-E.")
    parser.add_argument("--seconds", type=float, default=5, help="Of continuous posts, per database.")
    arguments = parser.parse_args()
    print(
        f"### A slow Open-E\n\n{POSTS} posts at once to a case, {CALL_SECONDS * 1000:g} ms per call, {THREADS} threads:"
        f" {ALLOWED:.0f}/s are allowed. Once: {POSTS} posts and no more. Continuous: {arguments.seconds:g} s.\n"
    )
    print(
        "| | | posts/s | share of allowed | p99 ms | not 2xx | worst live ms | worst ready ms | lag of the machine ms |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    misses = []
    for database in DATABASES:
        with Stage() as stage:
            mock = stage.start_mock_open_e()
            _make_slow(mock)
            service = stage.start_service(stage.create_database(database), **open_e_settings(mock))
            for name, job in _build_jobs(service, arguments.seconds).items():
                misses += _measure(service, job, name, database)
            if traces := service.count_tracebacks():
                misses.append(f"{database}: {traces} traces in the log")
    print(
        f"\nAims, {AIM_SHARE:.0%} of what is allowed, continuously, health within {AIM_HEALTH_MS} ms, no refusal: "
        f"{'not met: ' + '; '.join(misses) if misses else 'met'}"
    )


def _build_jobs(service: Program, seconds: float) -> dict[str, Job]:
    requests = create_requests(service.key, CASE)
    return {
        "once": Job(service.port, requests, POSTS, seconds=30, most=POSTS),
        "continuous posts": Job(service.port, requests, POSTS, seconds, warm_up=1),
    }


def _measure(service: Program, job: Job, name: str, database: str) -> list[str]:
    targets = {path: build_request("GET", f"/health/{path}", service.key) for path in ("live", "ready")}
    with watching(service.port, targets) as seen:
        result = run_load(job)
    share = _share(result, name)
    live, ready = seen.worst["live"], seen.worst["ready"]
    print(
        f"| {name} | {database} | {result.per_second:.0f} | {share:.0%} | {result.p99:.0f} | {result.refused} | "
        f"{live:.0f} | {ready:.0f} | {seen.lag:.0f} |",
        flush=True,
    )
    misses = []
    if name != "once" and share < AIM_SHARE:
        misses.append(f"{database}: {share:.0%}")
    if max(live, ready) > AIM_HEALTH_MS:
        misses.append(f"{database}, {name}: health took {max(live, ready):.0f} ms")
    if result.refused or sum(seen.refused.values()):
        misses.append(f"{database}, {name}: {result.refused} refused")
    return misses


def _share(result: Result, name: str) -> float:
    if name != "once":
        return result.per_second / ALLOWED
    # The last wave is not full: the possible rate is based on the time of whole waves.
    waves = -(-POSTS // THREADS)
    return waves * CALL_SECONDS / result.seconds


def _make_slow(mock: Program) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)
    order = {"fault": "Slow", "times": 1_000_000, "seconds": CALL_SECONDS}
    connection.request("POST", "/control/faults", json.dumps(order))
    if connection.getresponse().status != 201:
        raise RuntimeError("the mock did not take the order")
    connection.close()


if __name__ == "__main__":
    main()
