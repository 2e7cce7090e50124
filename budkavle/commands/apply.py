"""`budkavle apply`: replace the catalogue by that of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import run_with_database
from budkavle.commands.operators import operator_option
from budkavle.documentation import list_documentation
from domain.catalogue import ALLOWED
from domain.errors import BudkavleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from domain.catalogue import Catalogue, Change, Item, PartInUse
    from persistence.catalogue import Applied
    from persistence.database import Database


class StillNeeded(BudkavleError):
    """Subscriptions need entries that the new catalogue removes; nothing was applied."""

    def __init__(self, parts: Sequence[PartInUse]) -> None:
        lines = [
            f"{_describe_item(part.item)}: {_count(part.subscriptions, 'subscription')} of {', '.join(part.systems)}"
            for part in parts
        ]
        advice = "subscriptions need removed entries; nothing was applied (--prune also removes the subscriptions)"
        super().__init__("\n".join([advice, *lines]))


@click.command(
    epilog=list_documentation(
        "how-to/catalogue.md", "catalogue.example.yaml", "reference/schemas/catalogue.schema.json"
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the difference and change nothing.")
@click.option(
    "--prune", is_flag=True, help="Also remove subscriptions that need removed entries, with their deliveries."
)
@click.option("--check", is_flag=True, help="Resolve every reference of FILE on this machine and change nothing.")
@operator_option
def apply(file: Path, operator: str, *, dry_run: bool, prune: bool, check: bool) -> None:
    """Replace the catalogue by that of FILE.

    This is one transaction, and prints the changes.

    FILE is YAML: systems, messageTypes, allowedSubscriptions and webMessageEvent. Entries that are not in FILE are
    removed. If subscriptions need some of these, nothing changes, and all of them are reported.

    --check does not use the database: it reports variables, files, certificates and keys of FILE that are missing or
    invalid. Run it where the worker runs, with its environment.
    """
    from budkavle.catalogue.file import read_catalogue
    from budkavle.clock import now

    if check:
        if dry_run or prune:
            raise click.UsageError("--check cannot be combined with --dry-run or --prune")
        read_catalogue(file, now())
        click.echo("The catalogue is valid, and all of its references resolve on this machine.")
        return
    wanted = read_catalogue(file)
    applied = run_with_database(
        lambda database: apply_catalogue(database, wanted, operator, is_dry_run=dry_run, is_pruning=prune),
        may_create=not dry_run,
    )
    for line in list_changes(applied):
        click.echo(line)
    if dry_run:
        click.echo("Dry run: nothing was changed.", err=True)


async def apply_catalogue(
    database: Database, wanted: Catalogue, operator: str, *, is_dry_run: bool = False, is_pruning: bool = False
) -> Applied:
    """Apply a catalogue. Raises `StillNeeded`, which is audited, if subscriptions need parts that would be removed."""
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import audit, catalogue

    clock = await measure_clock(database)
    call = catalogue.Apply(
        wanted, clock.now(), create_id(), is_dry_run=is_dry_run, is_pruning=is_pruning, operator=operator
    )
    try:
        return await catalogue.apply(database, call)
    except catalogue.CatalogueInUse as exc:
        await audit.record(database, catalogue.build_rejection_entry(call, exc.parts))
        raise StillNeeded(exc.parts) from exc


def list_changes(applied: Applied) -> Iterator[str]:
    """Yield the changes for people in a stable order, with values as JSON on one line."""
    for change in applied.changes:
        yield f"{_sign(change)} {_describe_item(change.item)}"
        yield from (f"    {line}" for line in _describe_fields(change))
    for pruned in applied.pruned:
        messages = _count(pruned.dropped_messages, "message")
        yield f"- {_count(pruned.subscriptions, 'subscription')} of {pruned.system_id}, with {messages} not delivered"
    signs = [_sign(change) for change in applied.changes]
    if signs:
        yield f"{signs.count('+')} added, {signs.count('~')} changed, {signs.count('-')} removed"
    else:
        yield "nothing to change"


def _sign(change: Change) -> str:
    return "+" if change.before is None else "-" if change.after is None else "~"


def _describe_item(item: Item) -> str:
    if item.section == ALLOWED:
        org_type, entity_type = item.key
        return f"{item.section} orgType {org_type}, entityType {entity_type}"
    return " ".join([item.section, *map(str, item.key)])


def _describe_fields(change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    if before is None or after is None:
        values: Mapping[str, Any] = before or after or {}
        # Values that may be absent in the file are omitted here.
        yield from (
            f"{name}: {_render_json(value)}" for name, value in values.items() if value not in (None, False, [], {})
        )
        return
    for name in after:
        if before[name] != after[name]:
            yield from _describe_difference(name, before[name], after[name])


def _describe_difference(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, list) and sorted(before) != sorted(after):
        yield from (f"{name}: - {_render_json(value)}" for value in before if value not in after)
        yield from (f"{name}: + {_render_json(value)}" for value in after if value not in before)
    else:
        yield f"{name}: {_render_json(before)} -> {_render_json(after)}"


def _render_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
