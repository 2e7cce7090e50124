"""`budkavle purge`: remove data that is older than the settings say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import load_command_settings, print_line, run_with_database
from budkavle.commands.operators import operator_option
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections import Counter

    from domain.retention import RetentionRule
    from persistence.database import Database


@click.command(epilog=list_documentation("how-to/remove-data.md"))
@click.option("--dry-run", is_flag=True, help="Only print how much would be removed.")
@operator_option
def purge(operator: str, *, dry_run: bool) -> None:
    """Remove data that is older than the settings say, and print the number of each kind, one line of JSON each.

    Workers and servers do the same regularly. Messages in doubt, and deliveries that wait or are under way, are kept.
    """
    settings = load_command_settings()
    rules = settings.build_retention_rules()

    async def work(database: Database) -> Counter[RetentionRule]:
        from budkavle import retention
        from budkavle.clock import measure_clock

        now = (await measure_clock(database)).now()
        purge = retention.create_purge(settings, database)
        return await (purge.count(now) if dry_run else purge.run(now, operator))

    numbers = run_with_database(work, settings)
    for rule in rules:
        print_line(json.dumps(rule.describe() | {"wouldRemove" if dry_run else "removed": numbers[rule]}))
