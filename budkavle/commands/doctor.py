"""`budkavle doctor`: check an installation."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import print_line
from budkavle.commands.progress import show_progress
from budkavle.commands.records import Column, is_for_people, print_table
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from budkavle.doctor.findings import Finding

_STATUSES = ("ok", "warning", "problem", "skipped")
_COLUMNS = (
    Column("Status", "status"),
    Column("Check", "check"),
    Column("Finding", "text", shortest=24, is_wrapped=True),
    Column("What to do", "remedy", rank=1, shortest=24, is_wrapped=True),
)


@click.command(epilog=list_documentation("how-to/doctor.md"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Check the installation. It changes nothing, and says what to do about each problem.

    Settings, database, migrations, clock, queue, messages in doubt, audit, receivers, both Open-E, secrets,
    certificates, issuers and limits of the machine are checked concurrently, within ten seconds. Run it where the
    service or a worker runs, as the same user and with the same environment. Exit code: 0 if there is no problem, 1 if
    there is one.
    """
    import asyncio

    from budkavle.doctor.installation import check_installation
    from openapi.observation.logs import set_up_logs

    # The findings contain what the modules would log.
    set_up_logs("console", "critical")
    with show_progress("Checking the installation"):
        found = asyncio.run(check_installation())
    has_problem = any(each.status == "problem" for each in found)
    if as_json:
        verdict = "problem" if has_problem else "ok"
        print_line(
            json.dumps({"status": verdict, "findings": [asdict(each) for each in found]}, ensure_ascii=False, indent=2)
        )
    else:
        if is_for_people():
            print_table(_COLUMNS, [asdict(each) for each in found])
        else:
            for line in _render(found):
                print_line(line)
        counts = Counter(str(each.status) for each in found)
        print_line(", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status]))
    if has_problem:
        raise SystemExit(1)


def _render(found: Sequence[Finding]) -> Iterator[str]:
    """Yield a line per finding in columns, and one with the remedy below."""
    width = max(len(each.check) for each in found)
    for each in found:
        yield f"{each.status:7}  {each.check:{width}}  {each.text}"
        if each.remedy:
            yield f"{'':7}  {'':{width}}  -> {each.remedy}"
