"""Measure the time from the start of `budkavle serve` until it is ready, and the time of `budkavle --help`.

The aims depend on the machine, so they are reported only.

Run: python -m benchmarks.start_up [--rounds 7]
"""

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.stage import DATABASES, START_SECONDS, Stage, free_port

AIM_READY_SECONDS = 1.2
AIM_HELP_SECONDS = 0.3
INTERVAL_SECONDS = 0.005
BUDKAVLE = Path(sys.executable).with_name("budkavle")
KEEP_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""An installation has its modules compiled; the first, unmeasured round compiles those of a checkout."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to start.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"### Start\n\nSeconds, median of {rounds} rounds (lowest to highest).\n\n| | s | aim |\n|---|--:|--:|")
    _report("`budkavle --help`", _show_help, rounds, AIM_HELP_SECONDS)
    for database in DATABASES:
        with Stage() as stage:
            service = stage.start_service(stage.create_database(database))
            stage.stop(service)
            serve = partial(_serve, stage, service.settings | KEEP_BYTECODE)
            _report(f"`budkavle serve` to ready, {database}", serve, rounds, AIM_READY_SECONDS)


def _report(name: str, work: Callable[[], float], rounds: int, aim: float) -> None:
    times = [work() for _ in range(rounds + 1)][1:]
    print(f"| {name} | {median(times):.2f} ({min(times):.2f} to {max(times):.2f}) | {aim} |", flush=True)


def _show_help() -> float:
    start = time.perf_counter()
    subprocess.run(
        [BUDKAVLE, "--help"], env=KEEP_BYTECODE, cwd=tempfile.gettempdir(), stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


def _serve(stage: Stage, environment: dict[str, str]) -> float:
    """Start the service, wait until it is ready, and stop it. Return the seconds until it was ready."""
    port = free_port()
    start = time.perf_counter()
    service = stage.spawn("budkavle", port, [str(BUDKAVLE), "serve", "--port", str(port)], environment)
    while not _is_ready(port):
        if service.process.poll() is not None or time.perf_counter() > start + START_SECONDS:
            raise RuntimeError(f"the service did not start: {service.errors.read_text(errors='replace')[-800:]}")
        time.sleep(INTERVAL_SECONDS)
    seconds = time.perf_counter() - start
    stage.stop(service)
    return seconds


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
