"""`budkavle audit list`, `export` and `reads`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import read_system_names, run_with_database, write_moment
from budkavle.commands.option_types import past_option
from budkavle.commands.records import Column, RecordPrinter, json_option, print_records
from domain.audit import (
    API_KEYS,
    CATALOGUE,
    NO_SYSTEM,
    OTHER_CHAINS,
    READS,
    RECEIPTS,
    RETENTION,
    SEALS,
    SIGNING,
    WEB_MESSAGES,
)

if TYPE_CHECKING:
    from datetime import datetime

    from domain.audit import ChainedEntry
    from domain.message_reads import RecordedReads
    from persistence.database import Database

_COLUMNS = (
    Column("Chain", "systemName"),
    Column("Number", "number", rank=2, is_number=True),
    Column("Time", "time"),
    Column("Kind", "kind", rank=3),
    Column("Operation", "operation"),
    Column("Outcome", "outcome", rank=1),
    Column("Caller", "caller", rank=1, shortest=16),
    Column("Detail", lambda record: record["detail"] or None, rank=2, shortest=40),
    Column("Request", "requestId", rank=4),
    Column("Chain id", "chain", rank=5),
    Column("Hash", "hash", rank=6),
)
_READS_COLUMNS = (
    Column("First", "first"),
    Column("Recorded", "recorded"),
    Column("Caller", "caller", shortest=16),
    Column("Operation", "operation"),
    Column("Reads", "reads", is_number=True),
)

PAGE = 100
"""Entries per page. One entry may contain 50,000 changes."""


class _Chain(click.ParamType[str]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text in OTHER_CHAINS:
            return text
        try:
            return str(uuid.UUID(text))
        except ValueError:
            self.fail(f"{text!r} is not a UUID or one of {', '.join(OTHER_CHAINS)}", param, ctx)


@click.command("list")
@click.option("--limit", type=click.IntRange(1), help="The maximum number of entries.")
@click.option(
    "--system",
    type=_Chain(),
    help="Only entries of this system, or of one of these chains: "
    f"{CATALOGUE!r}: changes of the catalogue; {API_KEYS!r}: keys created, revoked and expired; "
    f"{WEB_MESSAGES!r}: messages deleted, imported or in doubt; {READS!r}: reads of messages; "
    f"{RECEIPTS!r}: sealed receipts; {RETENTION!r}: data removed by age, persons exported or erased; "
    f"{SEALS!r}: seals; {SIGNING!r}: when signing began; "
    f"{NO_SYSTEM!r}: calls refused or without a system.",
)
@past_option("--since", "Only entries from this time on.")
@json_option
def list_entries(limit: int | None, system: str | None, since: datetime | None, *, as_json: bool) -> None:
    """List all entries, the oldest first."""
    run_with_database(lambda database: print_entries(database, limit, system, since, as_json=as_json))


@click.command("export")
@click.option(
    "--system", type=_Chain(), help="Only the chain of this system, or another chain that `audit list` names."
)
def export(system: str | None) -> None:
    """Print all entries exactly as they are hashed.

    Each entry is one line of JSON, the oldest first, so that another program can verify the hashes.
    """
    run_with_database(lambda database: export_entries(database, system))


@click.command("reads")
@click.option("--party", type=click.UUID, metavar="ID", help="The party of the messages.")
@click.option(
    "--reference",
    type=(str, str),
    metavar="KEY VALUE",
    help="Instead of a party, an external reference of messages without a party.",
)
@past_option("--since", "Only reads from this time on.")
@past_option("--until", "Only reads before this time.")
@json_option
def list_reads(
    party: uuid.UUID | None,
    reference: tuple[str, str] | None,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
) -> None:
    """List how often each caller read messages of a party.

    Each line has the number of reads by one caller between `first` and `recorded`. The service counts reads only if
    BUDKAVLE_AUDIT_READ_MINUTES is set, and records the numbers as often as that. Once a party was erased, its reads
    can no longer be found.
    """
    from domain.message_reads import build_party_subject, build_reference_subject
    from domain.web_messages import ExternalReference

    if (party is None) == (reference is None):
        raise click.UsageError("give either --party or --reference")
    subject = (
        build_party_subject(str(party)) if reference is None else build_reference_subject(ExternalReference(*reference))
    )
    from persistence import message_reads

    found = run_with_database(lambda database: message_reads.list_recorded(database, subject, since, until))
    print_records(_READS_COLUMNS, map(describe_reads, found), "recorded reads", as_json=as_json)


def describe_reads(reads: RecordedReads) -> dict[str, Any]:
    """Return recorded reads as commands print them."""
    return {
        "first": write_moment(reads.first),
        "recorded": write_moment(reads.recorded),
        "caller": reads.caller,
        "operation": reads.operation,
        "reads": reads.number,
    }


async def print_entries(
    database: Database,
    limit: int | None,
    chain: str | None,
    since: datetime | None,
    page: int = PAGE,
    *,
    as_json: bool = True,
) -> None:
    """Print entries while they are read, page by page."""
    from persistence import audit as stored

    after = printed = 0
    with RecordPrinter(_COLUMNS, "entries", as_json) as printer:
        names = await read_system_names(database) if printer.is_table else {}
        while limit is None or printed < limit:
            wanted = page if limit is None else min(page, limit - printed)
            entries = await stored.list_page(database, after=after, limit=wanted, chain=chain, since=since)
            for after, entry in entries:  # noqa: B007  # The next page begins after the last entry.
                printer.print(_describe_entry(entry), names)
            printed += len(entries)
            if len(entries) < wanted:
                return


async def export_entries(database: Database, chain: str | None, page: int = PAGE) -> None:
    """Print entries with the texts that are hashed, page by page."""
    from domain.audit import format_time
    from persistence import audit as stored

    after = 0
    with RecordPrinter(_COLUMNS, "entries", as_json=True, ensure_ascii=True) as printer:
        while entries := await stored.list_page(database, after=after, limit=page, chain=chain):
            for after, chained in entries:  # noqa: B007  # The next page begins after the last entry.
                exact = {"time": format_time(chained.entry.time), "detail": chained.detail}
                printer.print(_describe_entry(chained) | exact | {"signature": chained.signature})


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
