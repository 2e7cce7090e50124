"""`budkavle audit`: list the audit log and verify that it was not changed."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import print_line, run_with_database, write_moment
from budkavle.commands.option_types import Moment
from budkavle.documentation import list_documentation
from domain.audit import CATALOGUE, NO_SYSTEM, WEB_MESSAGES, ChainedEntry
from domain.errors import BudkavleError

if TYPE_CHECKING:
    from datetime import datetime

    from persistence.database import Database

PAGE = 100
"""Entries per page. One entry may contain 50,000 changes."""


class _Chain(click.ParamType[str]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text in {CATALOGUE, WEB_MESSAGES, NO_SYSTEM}:
            return text
        try:
            return str(uuid.UUID(text))
        except ValueError:
            self.fail(f"{text!r} is not a UUID, {CATALOGUE!r}, {WEB_MESSAGES!r} or {NO_SYSTEM!r}", param, ctx)


class _Hash(click.ParamType[str]):
    name = "hash"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
            self.fail(f"{value!r} is not a hash as `budkavle audit verify` prints them", param, ctx)
        return text


@click.group(epilog=list_documentation("how-to/audit.md"))
def audit() -> None:
    """List and verify the audit log: calls, callers and outcomes."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(1), help="The maximum number of entries.")
@click.option(
    "--system",
    type=_Chain(),
    help=f"Only of this system; {CATALOGUE!r}: changes by operators; {WEB_MESSAGES!r}: messages in doubt; "
    f"{NO_SYSTEM!r}: calls refused or without a system.",
)
@click.option("--since", type=Moment(), help="Only from this time on; without an offset, Copenhagen time applies.")
def list_entries(limit: int | None, system: str | None, since: datetime | None) -> None:
    """List all entries, the oldest first, one line of JSON each."""
    run_with_database(lambda database: print_entries(database, limit, system, since))


@audit.command("verify")
@click.option("--head", "heads", type=_Hash(), multiple=True, help="A hash that was printed earlier; may be repeated.")
def verify(heads: tuple[str, ...]) -> None:
    """Verify that no entry was changed, removed, moved or added; print the hash of the last one of each chain.

    With such a hash that was stored elsewhere, --head also detects a rewrite of all entries and of the ends of their
    chains.
    """
    for line in run_with_database(lambda database: verify_entries(database, heads)):
        click.echo(line)


async def print_entries(
    database: Database, limit: int | None, chain: str | None, since: datetime | None, page: int = PAGE
) -> None:
    """Print entries while they are read, page by page."""
    from persistence import audit as stored

    after = printed = 0
    while limit is None or printed < limit:
        wanted = page if limit is None else min(page, limit - printed)
        entries = await stored.list_page(database, after=after, limit=wanted, chain=chain, since=since)
        for after, entry in entries:  # noqa: B007  # The next page begins after the last entry.
            print_line(json.dumps(_describe_entry(entry), ensure_ascii=False))
        printed += len(entries)
        if len(entries) < wanted:
            return


async def verify_entries(database: Database, heads: tuple[str, ...]) -> list[str]:
    """Return lines with the head of each chain. Raises an error for the first invalid entry."""
    from persistence import audit as stored

    for head in heads or (None,):
        ends, broken = await stored.verify(database, head)
        if broken is not None and broken.chain:
            raise BudkavleError(f"the audit is broken: entry {broken.number} of {broken.chain!r}: {broken.reason}")
        if broken is not None:
            raise BudkavleError(f"the audit is broken: {broken.reason}")
    lines = [f"{end.hash} {name} {end.length}" for name, end in sorted(ends.items())]
    return [*lines, f"ok: {sum(end.length for end in ends.values())} entries in {len(ends)} chains"]


def _describe_entry(chained: ChainedEntry) -> dict[str, Any]:
    entry = chained.entry
    return {
        "chain": entry.chain,
        "number": chained.number,
        "time": write_moment(entry.time),
        "kind": entry.kind,
        "operation": entry.operation,
        "caller": entry.caller,
        "outcome": entry.outcome,
        "requestId": entry.request_id,
        "detail": entry.detail,
        "hash": chained.hash,
    }
