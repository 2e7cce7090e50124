"""Measure deliveries per second for the same number of deliveries over 1, 30, 300 and 1,000 systems.

One worker with 100 concurrent calls delivers to a receiver that takes 20 ms and serves all systems.

Run: python -m benchmarks.many_systems [--deliveries 6000] [--database SQLite]. The exit code is 1 if 1,000 systems get
less than the aimed share of the deliveries per second of one system.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.deliveries import IN_FLIGHT, PATH, measure_rate
from benchmarks.queue_stage import prepare, publish, receiver, run, worker
from benchmarks.stage import DATABASES, Stage

SYSTEMS = (1, 30, 300, 1000)
AIM = 0.85
"""Minimum ratio of the rate with the most systems to the rate with one."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Many systems.")
    parser.add_argument("--deliveries", type=int, default=6000)
    parser.add_argument("--database", choices=DATABASES, action="append")
    arguments = parser.parse_args()
    print(f"### {arguments.deliveries} deliveries over a number of systems, deliveries per second\n")
    print(f"| | {' | '.join(map(str, SYSTEMS))} | {SYSTEMS[-1]} / {SYSTEMS[0]} |")
    print(f"|---|{'--:|' * (len(SYSTEMS) + 1)}")
    missed = []
    for kind in arguments.database or DATABASES:
        rates = [_measure(kind, arguments.deliveries, systems) for systems in SYSTEMS]
        ratio = rates[-1] / rates[0]
        print(f"| {kind} | {' | '.join(f'{rate:.0f}' for rate in rates)} | {ratio:.2f} |", flush=True)
        missed += [kind] if ratio < AIM else []
    print(f"\nAim, {AIM} of the rate with one system: {'missed: ' + ', '.join(missed) if missed else 'met'}")
    sys.exit(1 if missed else 0)


def _measure(kind: str, deliveries: int, systems: int) -> float:
    """Return the deliveries per second. Each event goes to all systems."""
    events = deliveries // systems
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.database(kind)
        target = receiver(stage, Path(folder) / "log")
        paths = {f"/{number}{PATH}": target.program.port for number in range(systems)}
        run(url, lambda database: prepare(database, paths))
        run(url, lambda database: publish(database, map(str, range(events)), 1))
        worker(stage, url, worker_concurrency=IN_FLIGHT, receiver_concurrency=IN_FLIGHT, log_level="info")
        return measure_rate(target, events * systems)


if __name__ == "__main__":
    main()
