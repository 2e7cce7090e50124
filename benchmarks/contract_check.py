"""Run `budkavle contract-check` against the healthy service repeatedly, with a different seed each time.

Checked after each run, on each database:

- the check found nothing, skipped nothing and terminated;
- its data was cleaned up: no message and no subscription remains;
- the service logged no traceback.

Reports of runs that found something are kept in `build/contract-check/`.

Run: python -m benchmarks.contract_check [--quick 10] [--full 1] [--database SQLite] [--seed N]. The exit code is 1 if a
check fails. The duration of the runs is printed next to the target and is not a failure.
"""

import argparse
import asyncio
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.load import ROOT
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings, run_command
from budkavle.demo.subscriptions import CERTIFICATE, FINGERPRINT, SYSTEM_ID
from persistence.opening import open_database
from persistence.tables import subscriptions, web_messages
from persistence.work import short_read

AIMS = {"quick": 60, "full": 15 * 60}
"""Maximum seconds that a run of each profile should take on two cores."""

_WITHOUT_TOKENS = re.compile(r"left out: [0-9]+ checks \(needs a target that accepts tokens\)")

CASE = 1068
REPORTS = ROOT / "build" / "contract-check"
CATALOGUE = f"""
systems:
  - systemIdentifier: {SYSTEM_ID}
    name: A system of the soak
    baseUrl: https://receiver.example
    certificates: ["sha256:{FINGERPRINT}"]
messageTypes:
  - {{entityType: 202, name: A type}}
  - {{entityType: 203, name: Another type}}
  - {{entityType: 204, name: A type that has ended, slutDato: 2020-12-31}}
allowedSubscriptions:
  - {{orgType: 1, entityType: 202}}
  - {{orgType: 2, entityType: 203}}
  - {{orgType: 2, entityType: 204}}
"""


@dataclass(frozen=True)
class Run:
    """One run: the number of checks and its duration."""

    checks: int
    seconds: float
    faults: list[str]


@dataclass(frozen=True)
class Checked:
    """A service to be checked, and the credentials of its callers."""

    service: Program
    database_url: str
    publish_key: str
    certificate: Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Contract checks of the healthy service.")
    parser.add_argument("--quick", type=int, default=10, help="Runs of the quick profile per database.")
    parser.add_argument("--full", type=int, default=1, help="Runs of the full profile per database.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="Seed from which the seeds of the runs are derived."
    )
    arguments = parser.parse_args()
    rounds = {"quick": arguments.quick, "full": arguments.full}
    print(f"### Contract checks of the healthy service\n\nSeed {arguments.seed}. Seconds:\n")
    print("| | | runs | clean | checks per run | min | median | max | limit |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    faults, misses = [], []
    for kind in arguments.database or DATABASES:
        chance = random.Random(arguments.seed)
        for profile in (profile for profile, count in rounds.items() if count):
            with Stage() as stage, tempfile.TemporaryDirectory() as folder:
                checked = _serve(stage, kind, Path(folder))
                seeds = [chance.randrange(2**32) for _ in range(rounds[profile])]
                runs = [_check(checked, profile, seed, REPORTS / f"{kind}-{profile}-{seed}") for seed in seeds]
                faults += [
                    f"{kind}, {profile}, seed {seed}: {fault}"
                    for seed, run in zip(seeds, runs, strict=True)
                    for fault in run.faults
                ]
                if traces := checked.service.count_tracebacks():
                    faults.append(f"{kind}, {profile}: {traces} traces in the log of the service")
                    shutil.copy(checked.service.errors, REPORTS / f"{kind}-{profile}-service.log")
            _print_row(kind, profile, runs)
            worst = max(run.seconds for run in runs)
            misses += [f"{kind}, {profile}: {worst:.0f} s"] if worst > AIMS[profile] else []
    print(f"\nAims, quick within {AIMS['quick']} s and full within {AIMS['full']} s: ", end="")
    print(f"{'not met: ' + '; '.join(misses) if misses else 'met'}")
    print(f"\n{'FAILED: ' + '; '.join(faults) if faults else 'All runs were clean.'}")
    sys.exit(1 if faults else 0)


def _print_row(kind: str, profile: str, runs: list[Run]) -> None:
    seconds, checks = [run.seconds for run in runs], [run.checks for run in runs]
    clean = sum(not run.faults for run in runs)
    print(
        f"| {profile} | {kind} | {len(runs)} | {clean} | {min(checks)} to {max(checks)} | {min(seconds):.0f} | "
        f"{statistics.median(seconds):.0f} | {max(seconds):.0f} | {AIMS[profile]} |",
        flush=True,
    )


def _serve(stage: Stage, kind: str, folder: Path) -> Checked:
    """Return a service with a mock Open-E, configured as the documentation of the contract check describes."""
    mock, url = stage.start_mock_open_e(), stage.create_database(kind)
    service = stage.start_service(url, trusted_proxies="127.0.0.1", log_level="error", **open_e_settings(mock))
    key = run_command(["api-key", "create", "publisher", "--scope", "publish"], service.settings).strip()
    catalogue, certificate = folder / "catalogue.yaml", folder / "client.pem"
    catalogue.write_text(CATALOGUE)
    run_command(["apply", str(catalogue)], service.settings)
    certificate.write_text(f"-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n")
    return Checked(service, url, key, certificate)


def _check(checked: Checked, profile: str, seed: int, report: Path) -> Run:
    command = [
        *(sys.executable, "-m", "budkavle", "contract-check", checked.service.url, "--profile", profile),
        *("--client-cert", str(checked.certificate), "--case", str(CASE), "--seed", str(seed), "--report", str(report)),
    ]
    keys = {"BUDKAVLE_CHECK_API_KEY": checked.service.key, "BUDKAVLE_CHECK_PUBLISH_KEY": checked.publish_key}
    report.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    result = subprocess.run(
        command, env={**os.environ, **keys}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - start
    (report / "output.txt").write_text(result.stdout + result.stderr)
    counts = re.search(r"([0-9]+) checks \(", result.stdout)
    faults = [f"ended with {result.returncode}, see {report.relative_to(ROOT)}/"] if result.returncode else []
    faults += [line for line in result.stdout.splitlines() if line.startswith(("left out: ", "not cleaned up: "))]
    # The service of this benchmark has no issuers.
    faults = [fault for fault in faults if not _WITHOUT_TOKENS.fullmatch(fault)]
    faults += asyncio.run(_list_remaining_rows(checked.database_url))
    if not faults:
        shutil.rmtree(report)
    return Run(int(counts[1]) if counts else 0, seconds, faults)


async def _list_remaining_rows(url: str) -> list[str]:
    """Return the rows that remain in a database that had no messages and no subscriptions before."""
    database = open_database(url)

    def count(connection: sa.Connection) -> list[str]:
        tables = {"messages": web_messages, "subscriptions": subscriptions}
        counts = {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in tables.items()
        }
        return [f"{number} {name} are left" for name, number in counts.items() if number]

    try:
        return await database.read(short_read(count))
    finally:
        await database.close()


if __name__ == "__main__":
    main()
