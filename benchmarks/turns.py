"""Run a benchmark that compares ways of a request in turns, on each database, with one ratio and its aim."""

import argparse
import sys
from collections.abc import Callable

from benchmarks.stage import DATABASES

Measure = Callable[[str, int, float, float], float]
"""Prints the figures of a database, for a number of rounds, seconds per round and of warm-up; returns the ratio."""


def run_on_databases(title: str, load: str, measure: Measure, aim: float) -> None:
    """Print a table for the databases of the command line. Exit with 1 if a ratio is below the aim.

    `load` describes what all rounds have in common.
    """
    parser = argparse.ArgumentParser(description=f"{title}.")
    parser.add_argument("--database", choices=DATABASES, action="append", help="By default both.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warm-up", type=float, default=3.0)
    arguments = parser.parse_args()
    print(
        f"### {title}\n\n{load}; medians of {arguments.rounds} rounds of {arguments.seconds:g} s, in turns.\n\n"
        "| | | requests/s | p99 ms | CPU µs | ratio | aim |\n|---|---|--:|--:|--:|--:|--:|"
    )
    misses = []
    for database in arguments.database or DATABASES:
        ratio = measure(database, arguments.rounds, arguments.seconds, arguments.warm_up)
        misses += [f"{database}: {ratio:.2f}"] if ratio < aim else []
    print(f"\nAims: {'not met: ' + '; '.join(misses) if misses else 'met'}")
    sys.exit(bool(misses))
