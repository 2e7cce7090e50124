"""`budkavle purge`: remove data that is older than the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from budkavle.commands.console import load_command_settings, run_with_database
from budkavle.commands.operators import operator_option
from budkavle.commands.progress import show_progress
from budkavle.commands.records import Column, json_option, print_records
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections import Counter

    from domain.retention import RetentionRule
    from persistence.database import Database


_COLUMNS = (
    Column("Kind", "kind"),
    Column("State", "state"),
    Column("Open-E", "oepInstance"),
    Column("Kept for days", "days", is_number=True),
)


@click.command(epilog=list_documentation("how-to/remove-data.md"))
@click.option("--dry-run", is_flag=True, help="Only print how much would be removed.")
@json_option
@operator_option
def purge(operator: str, *, dry_run: bool, as_json: bool) -> None:
    """Remove data that is older than the settings say.

    The number of each kind is printed. Workers and servers do the same regularly. Messages in doubt, and deliveries
    that wait or are under way, are kept.
    """
    settings = load_command_settings()
    rules = settings.build_retention_rules()

    async def work(database: Database) -> Counter[RetentionRule]:
        from budkavle import retention
        from budkavle.clock import measure_clock

        now = (await measure_clock(database)).now()
        purge = retention.create_purge(settings, database)
        return await (purge.count(now) if dry_run else purge.run(now, operator, report))

    with show_progress("Counting what would be removed" if dry_run else "Removed:") as report:
        numbers = run_with_database(work, settings)
    name = "wouldRemove" if dry_run else "removed"
    columns = (*_COLUMNS, Column("Would remove" if dry_run else "Removed", name, is_number=True))
    records = [rule.describe() | {name: numbers[rule]} for rule in rules]
    print_records(columns, records, "rules about the age of data are set", as_json=as_json)
