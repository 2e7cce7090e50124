"""`budkavle doctor`: check an installation."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import print_line
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from budkavle.doctor.findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "bright_black"}


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
    found = asyncio.run(check_installation())
    has_problem = any(each.status == "problem" for each in found)
    if as_json:
        verdict = "problem" if has_problem else "ok"
        print_line(
            json.dumps({"status": verdict, "findings": [asdict(each) for each in found]}, ensure_ascii=False, indent=2)
        )
    else:
        for line in _render(found):
            print_line(line)
    if has_problem:
        raise SystemExit(1)


def _render(found: Sequence[Finding]) -> Iterator[str]:
    """Yield a line per finding in columns, one with the remedy below, and a summary."""
    width = max(len(each.check) for each in found)
    for each in found:
        status = click.style(f"{each.status:7}", fg=_COLOURS[each.status])
        yield f"{status}  {each.check:{width}}  {each.text}"
        if each.remedy:
            yield f"{'':7}  {'':{width}}  -> {each.remedy}"
    counts = Counter(str(each.status) for each in found)
    yield ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])
