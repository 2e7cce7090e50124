"""Report which keywords of the contracts Schemathesis tests with valid and with invalid values.

    python -m tests.contract_coverage [FOLDER]

Runs Schemathesis as the contract check does, on a service of its own, and counts with TraceCov. The reports are written
to FOLDER. Each keyword that was not tested both ways must be listed in uncovered.yaml with the reason; a listed keyword
that was tested both ways must be removed. Otherwise it exits with 1. The tests check the responses; this program does
not.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import yaml

from conftest import MESSAGES_KEY, PUBLISH_KEY, running_service
from contract_tests.suites import COMPATIBILITY_SPECS, read_settings
from contract_tests.target import VARIABLE
from mock_open_e import MockOpenE, mock_open_e
from openapi.observation.logs import set_up_logs
from persistence.opening import open_database
from tests.check_target import create_check_target, put_target_rows
from tests.handlers.callers import create_certificate
from tests.mock_servers import running_mock

ROOT = Path(__file__).parent.parent
EXPLAINED = Path(__file__).parent / "uncovered.yaml"
FOLDER = ROOT / "build" / "coverage"
SPECS = ("operations", "web-messages", "subscriptions", *COMPATIBILITY_SPECS, "mock-open-e")
DIMENSIONS = ("operations", "parameters", "keywords", "examples", "responses")
SECONDS = 280

# Run Schemathesis with TraceCov's options. `schemathesis.toml` can name only one module of hooks, which is ours.
COMMAND = "import tracecov.schemathesis as t; t.install(); from schemathesis.cli import schemathesis as s; s()"


@contextmanager
def running_targets() -> Iterator[tuple[Path, dict[str, tuple[str, tuple[str, ...]]]]]:
    """Write the file that describes the service. Return the URL of each contract, and the headers that callers send."""
    certificate = create_certificate()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/coverage.db"
        asyncio.run(_migrate(url))
        put_target_rows(url, certificate)
        external, internal = (f"http://open-e.test/{instance}/api/callback" for instance in ("external", "internal"))
        with (
            mock_open_e(url_external=external, url_internal=internal),
            running_service(
                database_url=url,
                open_e_external_url=external,
                open_e_internal_url=internal,
                trusted_proxies="127.0.0.1",
                compatibility_apis=",".join(COMPATIBILITY_SPECS),
            ) as service,
            running_mock(MockOpenE()) as mock_url,
        ):
            target = Path(folder) / "target.json"
            create_check_target(service.url, certificate).write(target)
            messages = (f"apikey: {MESSAGES_KEY}",)
            yield (
                target,
                {
                    "operations": (service.url, ()),
                    "web-messages": (service.url, messages),
                    "subscriptions": (service.url, (f"Client-Cert: {certificate.header}", f"apikey: {PUBLISH_KEY}")),
                    **dict.fromkeys(COMPATIBILITY_SPECS, (service.url, messages)),
                    "mock-open-e": (mock_url, ()),
                },
            )


async def _migrate(url: str) -> None:
    database = open_database(url)
    await database.migrate()
    await database.close()


def attack(name: str, target: Path, url: str, headers: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Run Schemathesis on one contract and return TraceCov's report; `folder` gets the output and an HTML report."""
    config = folder / f"{name}.toml"
    config.write_text(read_settings(name))
    formats = [f"--coverage-report-{kind}-path={folder / f'{name}.{kind}'}" for kind in ("json", "html")]
    command = [
        sys.executable,
        "-c",
        COMMAND,
        "--config-file",
        str(config),
        "run",
        str(ROOT / "spec" / f"{name}.yaml"),
        "--url",
        url,
    ]
    command += [word for header in headers for word in ("-H", header)]
    command += ["--coverage-format=json,html", *formats]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BUDKAVLE_", "SCHEMATHESIS_"))}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**inherited, VARIABLE: str(target)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    (folder / f"{name}.txt").write_text(result.stdout + result.stderr)
    if "Coverage Errors" in result.stdout or not (folder / f"{name}.json").exists():
        raise SystemExit(f"no coverage of {name}:\n{result.stdout}{result.stderr}")
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return report


def find_uncovered(report: dict[str, Any]) -> set[str]:
    """Return the places of a contract that were not tested both ways, each with what is missing."""
    found = set()
    for operation in report["operations"]:
        where = f"{operation['method']} {operation['path']}"
        if not operation["hits"]:
            found.add(f"{where}: never called")
        for parameter in operation.get("parameters", []):
            name = f"{where} {parameter['location']} {parameter.get('name') or parameter.get('media_type')}"
            for keyword in parameter.get("keywords", []):
                missing = [way for way in ("valid", "invalid") if not keyword.get(way)]
                if keyword["state"] != "full":
                    found.add(f"{name} {keyword['schema_path']}: no {' and no '.join(missing)} value")
    return found


def explain_differences(name: str, found: set[str], explained: dict[str, str]) -> list[str]:
    """Return sentences about uncovered places without a reason, and about reasons without an uncovered place."""
    unexplained = [place for place in sorted(found) if find_reason(place, explained) is None]
    unused = [pattern for pattern in sorted(explained) if not any(fnmatchcase(place, pattern) for place in found)]
    new = [f"{name}: {place}; cover it, or explain it in {EXPLAINED.name}" for place in unexplained]
    return new + [f"{name}: {pattern} is covered; take it out of {EXPLAINED.name}" for pattern in unused]


def find_reason(place: str, explained: dict[str, str]) -> str | None:
    """Return the reason for an uncovered place: its own, or that of a pattern (`*`) that matches it."""
    patterns = (reason for pattern, reason in explained.items() if fnmatchcase(place, pattern))
    return explained.get(place) or next(patterns, None)


def render_row(name: str, report: dict[str, Any]) -> str:
    """Return a row of the table."""
    counts = (report["summary"][dimension] for dimension in DIMENSIONS)
    return " | ".join([f"| {name}", *(f"{count['covered']} of {count['total']}" for count in counts)]) + " |"


def main(folder: Path) -> int:
    """Return the exit code."""
    set_up_logs("json", "error")
    folder.mkdir(parents=True, exist_ok=True)
    explained = yaml.safe_load(EXPLAINED.read_text())
    with running_targets() as (target, targets), ThreadPoolExecutor(os.cpu_count() or 1) as attackers:
        runs = {name: attackers.submit(attack, name, target, *targets[name], folder) for name in SPECS}
        reports = {name: run.result() for name, run in runs.items()}
    click.echo(f"| | {' | '.join(DIMENSIONS)} |\n|---|{'---|' * len(DIMENSIONS)}")
    wrong = []
    for name, report in reports.items():
        found = find_uncovered(report)
        reasons = explained.get(name) or {}
        wrong += explain_differences(name, found, reasons)
        click.echo(render_row(name, report))
    click.echo()
    for name, report in reports.items():
        reasons = explained.get(name) or {}
        for place in sorted(find_uncovered(report)):
            click.echo(f"{name}: {place}\n    {find_reason(place, reasons) or 'NOT EXPLAINED'}")
    click.echo(f"\nThe reports are in {folder}")
    if wrong:
        click.echo("\n".join(["", *wrong]), err=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
