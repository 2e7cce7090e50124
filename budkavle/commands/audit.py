"""`budkavle audit`: list the audit log and verify that it was not changed."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import load_command_settings, print_line, run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Moment
from budkavle.documentation import list_documentation
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
    ChainedEntry,
)
from domain.errors import BudkavleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from budkavle.sealing import StoredSeal
    from budkavle.settings import Settings
    from persistence.database import Database

PAGE = 100
"""Entries per page. One entry may contain 50,000 changes."""


MAX_DIFFERENCES = 20
"""Differences between the audit and the state that are printed."""


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
    help=f"Only of this system; {CATALOGUE!r}: changes of the catalogue; {API_KEYS!r}: keys created, revoked and "
    f"expired; {WEB_MESSAGES!r}: messages deleted or in doubt; {READS!r}: reads of messages; "
    f"{RECEIPTS!r}: sealed receipts; {RETENTION!r}: what was removed by age; "
    f"{SEALS!r}: seals; {SIGNING!r}: when signing began; "
    f"{NO_SYSTEM!r}: calls refused or without a system.",
)
@click.option("--since", type=Moment(), help="Only from this time on; without an offset, Copenhagen time applies.")
def list_entries(limit: int | None, system: str | None, since: datetime | None) -> None:
    """List all entries, the oldest first, one line of JSON each."""
    run_with_database(lambda database: print_entries(database, limit, system, since))


@audit.command("export")
@click.option("--system", type=_Chain(), help="Only the chain of this system, or another chain as in `list`.")
def export(system: str | None) -> None:
    """Print all entries exactly as they are hashed, the oldest first, one line of JSON each.

    Another program can verify them.
    """
    run_with_database(lambda database: export_entries(database, system))


@audit.command("seal")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A PEM file with an Ed25519 private key, instead of BUDKAVLE_AUDIT_SEAL_KEY.",
)
@click.option("--new-file", is_flag=True, help="Continue in a file without seals.")
@operator_option
def seal(file: Path | None, key: Path | None, operator: str, *, new_file: bool) -> None:
    """Sign the last hash of each chain, and append this seal to FILE, by default BUDKAVLE_AUDIT_SEAL_FILE.

    Keep a copy of FILE in a place that users of the database cannot change. `verify --seals` then detects entries that
    were rewritten or removed. If the audit does not match the last seal of FILE, nothing is sealed.
    """
    settings = load_command_settings()
    path, key_path = file or settings.audit_seal_file, key or settings.audit_seal_key
    if path is None or key_path is None:
        raise click.UsageError("give FILE and --key, or set BUDKAVLE_AUDIT_SEAL_FILE and BUDKAVLE_AUDIT_SEAL_KEY")
    click.echo(
        run_with_database(lambda database: append_seal(database, key_path, path, operator, is_new=new_file), settings)
    )


@audit.command("start-signing")
@operator_option
def start_signing(operator: str) -> None:
    """Record that all entries are signed from now on, with the first key of BUDKAVLE_AUDIT_KEY.

    Start it once all processes have the key: `verify --signatures` then reports every later entry without a signature.
    """
    settings = load_command_settings()
    click.echo(
        run_with_database(lambda database: append_signing(database, settings, operator), settings, checks_key=False)
    )


@audit.command("prune")
@click.option("--before", required=True, type=Moment(), help="Only entries from before this time.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A PEM file with an Ed25519 private key, instead of BUDKAVLE_AUDIT_SEAL_KEY.",
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A PEM file with a former public key of seals or checkpoints; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only print how many entries would be removed.")
@operator_option
def prune(before: datetime, key: Path | None, public_keys: tuple[Path, ...], operator: str, *, dry_run: bool) -> None:
    """Remove the oldest entries of each chain, up to a signed checkpoint, from which `verify` then begins.

    Kept are: the last entry of each chain, the chain `signing`, and entries that seal receipts which are still kept. If
    the audit does not match its hashes, its seals or its last checkpoint, nothing is removed.
    """
    settings = load_command_settings()
    click.echo(
        run_with_database(
            lambda database: prune_entries(database, settings, before, key, public_keys, operator, is_dry=dry_run),
            settings,
        )
    )


@audit.command("verify")
@click.option("--head", "heads", type=_Hash(), multiple=True, help="A hash that was printed earlier; may be repeated.")
@click.option(
    "--seals", type=click.Path(path_type=Path, dir_okay=False), help="A file of `seal`: check it, and all it covers."
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A PEM file with the public key of the seals, and of the checkpoint of `prune`; may be repeated.",
)
@click.option(
    "--state",
    is_flag=True,
    help="Also compare the catalogue, subscriptions, pauses and API keys with the changes in the audit.",
)
@click.option(
    "--signatures", is_flag=True, help="Also verify the signatures of entries, with the keys of BUDKAVLE_AUDIT_KEY."
)
@click.option("--max-age", type=click.FloatRange(min=0), help="The maximum age of the last seal, in hours.")
def verify(
    heads: tuple[str, ...],
    seals: Path | None,
    public_keys: tuple[Path, ...],
    max_age: float | None,
    *,
    state: bool,
    signatures: bool,
) -> None:
    """Verify that no entry was changed, removed, moved or added; print the hash of the last one of each chain.

    With such a hash that was stored elsewhere, --head also detects a rewrite of all entries and of the ends of their
    chains. So does --seals, for all chains and up to the last seal. --state detects a change that has no entry, and an
    entry of a change that was never made; --signatures any entry that the service did not make. Receipts are compared
    with those that the audit seals.
    """
    if (seals is not None and not public_keys) or (seals is None and max_age is not None):
        raise click.UsageError("--seals needs --public-key, and --max-age needs --seals")
    stored: list[StoredSeal] = []
    keys: list[Ed25519PublicKey] = []
    if public_keys:
        from budkavle.sealing import read_public_key, read_seals

        keys = [read_public_key(path) for path in public_keys]
        stored = [] if seals is None else read_seals(seals, keys)
    age = None if max_age is None else timedelta(hours=max_age)

    settings = load_command_settings()
    if signatures and not settings.audit_key:
        raise click.UsageError("--signatures needs BUDKAVLE_AUDIT_KEY")

    async def verify_all(database: Database) -> list[str]:
        lines = await verify_entries(database, heads, stored, age, settings.receipt_days)
        lines[-1:-1] = await verify_checkpoint(database, settings, keys)
        if signatures:
            lines.insert(-1, await verify_signatures(database, settings))
        if state:
            await verify_state(database)
        return lines

    for line in run_with_database(verify_all, settings, checks_key=False):
        click.echo(line)


@audit.command("reads")
@click.option("--party", type=click.UUID, metavar="ID", help="The party of the messages.")
@click.option(
    "--reference",
    type=(str, str),
    metavar="KEY VALUE",
    help="Instead of a party, an external reference of messages without a party.",
)
@click.option(
    "--since", type=Moment(), help="Only reads from this time on; without an offset, Copenhagen time applies."
)
@click.option("--until", type=Moment(), help="Only reads before this time.")
def list_reads(
    party: uuid.UUID | None, reference: tuple[str, str] | None, since: datetime | None, until: datetime | None
) -> None:
    """List how often each caller read the messages of a party, the oldest first, one line of JSON each.

    A line counts the reads between `first` and `recorded`. Reads are recorded only if BUDKAVLE_AUDIT_READ_MINUTES is
    set, and after so many minutes. After the party was erased, nothing is found.
    """
    from domain.message_reads import build_party_subject, build_reference_subject
    from domain.web_messages import ExternalReference

    if (party is None) == (reference is None):
        raise click.UsageError("give either --party or --reference")
    subject = (
        build_party_subject(str(party)) if reference is None else build_reference_subject(ExternalReference(*reference))
    )
    run_with_database(lambda database: print_reads(database, subject, since, until))


async def print_reads(database: Database, subject: str, since: datetime | None, until: datetime | None) -> None:
    """Print the recorded reads of a subject."""
    from persistence import message_reads

    for reads in await message_reads.list_recorded(database, subject, since, until):
        line = {
            "first": write_moment(reads.first),
            "recorded": write_moment(reads.recorded),
            "caller": reads.caller,
            "operation": reads.operation,
            "reads": reads.number,
        }
        print_line(json.dumps(line, ensure_ascii=False))


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


async def export_entries(database: Database, chain: str | None, page: int = PAGE) -> None:
    """Print entries with the texts that are hashed, page by page."""
    from domain.audit import format_time
    from persistence import audit as stored

    after = 0
    while entries := await stored.list_page(database, after=after, limit=page, chain=chain):
        for after, chained in entries:  # noqa: B007  # The next page begins after the last entry.
            line = _describe_entry(chained)
            line |= {"time": format_time(chained.entry.time), "detail": chained.detail}
            line["signature"] = chained.signature
            print_line(json.dumps(line))


async def append_seal(database: Database, key_path: Path, path: Path, operator: str, *, is_new: bool) -> str:
    """Append a seal to a file and return a line about it."""
    from budkavle.clock import measure_clock
    from budkavle.sealing import read_private_key, seal_audit

    clock = await measure_clock(database)
    written = await seal_audit(
        database, read_private_key(key_path), path, clock.now(), is_new=is_new, operator=operator
    )
    return f"ok: seal {written.number} of {len(written.chains)} chains"


async def verify_entries(
    database: Database,
    heads: tuple[str, ...],
    seals: Sequence[StoredSeal],
    max_age: timedelta | None,
    receipt_days: float,
) -> list[str]:
    """Return lines with the head of each chain, and about receipts and seals.

    Receipts may be missing after `receipt_days`. Raises an error for the first invalid entry or receipt.
    """
    from persistence import audit as stored

    sealed: Mapping[tuple[str, int], str] = {}
    if seals:
        from budkavle.sealing import collect_hashes

        sealed = collect_hashes(seals)
    for head in heads or (None,):
        ends, broken = await stored.verify(database, head, sealed)
        if broken is not None and broken.chain:
            raise BudkavleError(f"the audit is broken: entry {broken.number} of {broken.chain!r}: {broken.reason}")
        if broken is not None:
            raise BudkavleError(f"the audit is broken: {broken.reason}")
    lines = [f"{end.hash} {name} {end.length}" for name, end in sorted(ends.items())]
    lines += await _verify_receipts(database, receipt_days)
    if seals:
        lines.append(await _verify_seals(database, seals, max_age))
    return [*lines, f"ok: {sum(end.length for end in ends.values())} entries in {len(ends)} chains"]


async def prune_entries(
    database: Database,
    settings: Settings,
    before: datetime,
    key: Path | None,
    public_keys: Sequence[Path],
    operator: str,
    *,
    is_dry: bool,
) -> str:
    """Remove entries, or only count them, and return a line about it."""
    from budkavle.audit_pruning import create_audit_pruner
    from budkavle.clock import measure_clock
    from budkavle.sealing import read_public_key

    if key is None and settings.audit_seal_key is None:
        raise click.UsageError("give --key, or set BUDKAVLE_AUDIT_SEAL_KEY")
    pruner = create_audit_pruner(settings, database, key, [read_public_key(path) for path in public_keys])
    now = (await measure_clock(database)).now()
    if is_dry:
        return f"{await pruner.count(before, now)} entries would be removed"
    return f"ok: {sum([number async for number in pruner.prune(before, now, operator)])} entries removed"


async def verify_checkpoint(
    database: Database, settings: Settings, public_keys: Sequence[Ed25519PublicKey]
) -> list[str]:
    """Return a line about the last checkpoint, if there is one. Raises an error unless its signature is right.

    Without public keys, that of the key in the settings is used, if there is one.
    """
    from persistence import audit_checkpoints

    if await audit_checkpoints.find_last(database) is None:
        return []
    from budkavle import audit_pruning
    from budkavle.sealing import read_private_key

    keys = list(public_keys)
    if settings.audit_seal_key is not None:
        keys.append(read_private_key(settings.audit_seal_key).public_key())
    line = await audit_pruning.verify_checkpoint(database, keys)
    return [] if line is None else [line]


async def verify_state(database: Database) -> None:
    """Raise an error with the differences between what is stored and what the audit says, unless there are none."""
    from budkavle.clock import measure_clock
    from persistence import audit_state

    found = await audit_state.list_differences(database, (await measure_clock(database)).now())
    if found:
        more = [f"and {len(found) - MAX_DIFFERENCES} more"] if len(found) > MAX_DIFFERENCES else []
        raise BudkavleError("\n".join(["the audit does not match the state:", *found[:MAX_DIFFERENCES], *more]))


async def append_signing(database: Database, settings: Settings, operator: str) -> str:
    """Record that entries are signed from now on, and return a line about it. Raises `UsageError` without a key."""
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import audit_signatures

    if not settings.audit_key:
        raise click.UsageError("set BUDKAVLE_AUDIT_KEY")
    clock = await measure_clock(database)
    number = await audit_signatures.start(database, clock.now(), create_id(), operator)
    return f"ok: new entries are signed, also those of the {number} present chains"


async def verify_signatures(database: Database, settings: Settings) -> str:
    """Return a line about the signed entries. Raises an error for the first one without a right signature."""
    from budkavle.audit_keys import read_signers
    from persistence import audit_signatures

    number, broken = await audit_signatures.verify(database, read_signers(settings))
    if broken is not None:
        raise BudkavleError(f"the audit is broken: entry {broken.number} of {broken.chain!r}: {broken.reason}")
    return f"ok: {number} signed entries"


async def _verify_receipts(database: Database, days: float) -> list[str]:
    """Return a line about receipts, if there are any, and none that differs from what was sealed."""
    from budkavle.clock import measure_clock
    from persistence import receipt_rounds

    clock = await measure_clock(database)
    counts, difference = await receipt_rounds.verify(database, clock.now() - timedelta(days=days))
    if difference is not None:
        raise BudkavleError(f"the receipts do not match the audit: {difference}")
    if counts.sealed + counts.removed + counts.unsealed == 0:
        return []
    others = f"{counts.removed} more removed after {days:g} days, {counts.unsealed} not sealed yet"
    return [f"ok: {counts.sealed} sealed receipts, {others}"]


async def _verify_seals(database: Database, seals: Sequence[StoredSeal], max_age: timedelta | None) -> str:
    """Return a line about seals that the audit has recorded, and whose last one is recent enough."""
    from budkavle.clock import measure_clock
    from budkavle.sealing import check_recorded
    from persistence import audit_seals

    check_recorded(seals, await audit_seals.list_recorded(database))
    first, last = seals[0].seal, seals[-1].seal
    clock = await measure_clock(database)
    if max_age is not None and last.time < clock.now() - max_age:
        raise BudkavleError(f"the last seal, {last.number} of {write_moment(last.time)}, is too old")
    return f"ok: seals {first.number} to {last.number}, the last one of {write_moment(last.time)}"


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
