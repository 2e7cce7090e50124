"""Measure deliveries per second for the same number of deliveries over 1, 30, 300 and 1,000 systems.

One worker with 100 concurrent calls delivers to a receiver in another process, which takes 20 ms. All systems are at
its host, so they can share connections; with `--own-hosts` each has an address and connections of its own. The
processor time is that of the worker, which work of others on the machine changes less than the rate.

Run: python -m benchmarks.many_systems [--deliveries 6000] [--database SQLite] [--own-hosts]. The exit code is 1
if 1,000 systems get less than the aimed share of the deliveries per second of one system.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.deliveries import IN_FLIGHT, PATH, measure_rate
from benchmarks.processor import read_processor_seconds
from benchmarks.queue_stage import LOOPBACK, prepare, publish, run, start_receiver, start_worker
from benchmarks.stage import DATABASES, Stage

SYSTEMS = (1, 30, 300, 1000)
AIM = 0.85
"""Minimum ratio of the rate with the most systems to the rate with one."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Many systems.")
    parser.add_argument("--deliveries", type=int, default=6000)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--own-hosts", action="store_true")
    arguments = parser.parse_args()
    print(f"### {arguments.deliveries} deliveries over a number of systems, per second / processor time of each, µs\n")
    print(f"| | {' | '.join(map(str, SYSTEMS))} | {SYSTEMS[-1]} / {SYSTEMS[0]} |")
    print(f"|---|{'--:|' * (len(SYSTEMS) + 1)}")
    missed = []
    for kind in arguments.database or DATABASES:
        figures = [_measure(kind, arguments.deliveries, systems, arguments.own_hosts) for systems in SYSTEMS]
        ratio = figures[-1][0] / figures[0][0]
        cells = " | ".join(f"{rate:.0f} / {processor_time:.0f}" for rate, processor_time in figures)
        print(f"| {kind} | {cells} | {ratio:.2f} |", flush=True)
        missed += [kind] if ratio < AIM else []
    print(f"\nAim, {AIM} of the rate with one system: {'missed: ' + ', '.join(missed) if missed else 'met'}")
    sys.exit(1 if missed else 0)


def _measure(kind: str, deliveries: int, systems: int, own_hosts: bool) -> tuple[float, float]:  # noqa: FBT001  # The option of the command.
    """Return the deliveries per second and the worker's µs of processor time per delivery.

    Each event goes to all systems.
    """
    events = deliveries // systems
    hosts = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(systems)] if own_hosts else LOOPBACK
    with Stage() as stage, TemporaryDirectory(prefix="budkavle-") as folder:
        url = stage.create_database(kind)
        target = start_receiver(stage, Path(folder) / "log", hosts=hosts)
        paths = {f"/{number}{PATH}": target.program.port for number in range(systems)}
        run(url, lambda database: prepare(database, paths, hosts))
        run(url, lambda database: publish(database, map(str, range(events)), 1))
        limits = {"worker_concurrency": IN_FLIGHT, "receiver_concurrency": IN_FLIGHT}
        process = start_worker(stage, url, log_level="info", **limits)
        arrived, used = target.count(), read_processor_seconds(process.pid)
        rate = measure_rate(target, events * systems)
        used = read_processor_seconds(process.pid) - used
        return rate, used * 1e6 / (events * systems - arrived)


if __name__ == "__main__":
    main()
