"""Run rounds of random posts, faults, crashes and settlers against a model, as `tests/test_publications.py` does.

Run: python -m benchmarks.publication_rounds [--seconds 600] [--seed 1] [--database SQLite]. It prints each violation
with the seed of its round; the exit code is 1 if there is one.
"""

import argparse
import sys
import time

from benchmarks.stage import DATABASES, Stage, run_command
from tests.publication_rounds import Round


def main() -> None:
    parser = argparse.ArgumentParser(description="Random interleavings of publications, compared with a model.")
    parser.add_argument("--seconds", type=int, default=600, help="Seconds per database.")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of the first round.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    arguments = parser.parse_args()
    print(f"### Random interleavings of publications\n\nFirst seed {arguments.seed}.\n", flush=True)
    failed = False
    for database in arguments.database or DATABASES:
        ends, seed = time.monotonic() + arguments.seconds, arguments.seed
        violated = 0
        while time.monotonic() < ends:
            with Stage() as stage:
                url = stage.create_database(database)
                run_command(["migrate"], {"BUDKAVLE_DATABASE_URL": url})
                violations = Round(f"{seed} {database}", url).run()
            violated += bool(violations)
            for violation in violations:
                print(f"{database}, seed {seed}: {violation}", flush=True)
            seed += 1
        failed = failed or violated > 0
        print(f"{database}: {seed - arguments.seed} rounds, {violated} with violations", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
