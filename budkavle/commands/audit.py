"""`budkavle audit`: list the audit log and verify that it was not changed."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.audit_listing import export, list_entries, list_reads
from budkavle.commands.console import (
    load_command_settings,
    read_system_names,
    run_with_database,
    write_moment,
)
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import past_option
from budkavle.commands.progress import show_progress
from budkavle.commands.records import Column, is_for_people, print_records
from budkavle.documentation import list_documentation
from domain.errors import BudkavleError, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from budkavle.sealing import StoredSeal
    from budkavle.settings import Settings
    from domain.audit import BrokenChain, ChainHead
    from persistence.database import Database


_END_COLUMNS = (
    Column("Chain", "systemName"),
    Column("Entries", "entries", rank=1, is_number=True),
    Column("Hash of the last entry", "hash"),
    Column("Chain id", "chain", rank=2),
)

MAX_DIFFERENCES = 20
"""Differences between the audit and the state that are printed."""


class _Hash(click.ParamType[str]):
    name = "hash"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
            self.fail(f"{value!r} is not a hash as `budkavle audit verify` prints them", param, ctx)
        return text


@click.group(epilog=list_documentation("how-to/audit.md"))
def audit() -> None:
    """List and verify the audit: calls, callers and outcomes."""


for _command in (list_entries, export, list_reads):
    audit.add_command(_command)


@audit.command("seal")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A PEM file with an Ed25519 private key, instead of BUDKAVLE_AUDIT_SEAL_KEY.",
)
@click.option("--new-file", is_flag=True, help="Begin a new FILE; the numbers of seals continue.")
@operator_option
def seal(file: Path | None, key: Path | None, operator: str, *, new_file: bool) -> None:
    """Append a seal to FILE: the signed hashes of all chains.

    FILE is BUDKAVLE_AUDIT_SEAL_FILE by default. A seal has the last hash of each chain.

    Keep a copy of FILE where users of the database cannot change it. `audit verify --seals` then detects entries that
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
    """Record that all entries are signed from now on.

    They are signed with the first key of BUDKAVLE_AUDIT_KEY.

    Run this command once all processes have the key. From then on, `audit verify --signatures` reports every later
    entry without a signature, and a process without the key cannot append any.
    """
    settings = load_command_settings()
    click.echo(
        run_with_database(lambda database: append_signing(database, settings, operator), settings, checks_key=False)
    )


@audit.command("prune")
@past_option("--before", "Remove entries from before this time.", required=True)
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
    """Remove the oldest entries of each chain.

    A signed checkpoint replaces them. From then on, `audit verify` begins there.

    The last entry of each chain, the chain `signing`, and entries that seal receipts which still exist are not removed.
    If the audit does not match its hashes, its seals or its last checkpoint, nothing is removed.
    """
    settings = load_command_settings()
    click.echo(
        run_with_database(
            lambda database: prune_entries(database, settings, before, key, public_keys, operator, is_dry=dry_run),
            settings,
        )
    )


@audit.command("verify")
@click.option(
    "--head", "heads", type=_Hash(), multiple=True, help="A hash that an earlier run printed; may be repeated."
)
@click.option(
    "--seals",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of `audit seal`: verify its seals, and all entries that they cover.",
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A PEM file with the public key of the seals, and of the checkpoint of `audit prune`; may be repeated.",
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
    """Verify that no entry was changed, removed, moved or added.

    The hash of the last entry of each chain is printed. Store these hashes elsewhere: a later run with --head also
    detects that all entries of a chain were rewritten, or that the last ones were removed.

    --seals detects the same for all chains, up to the last seal. --state detects changes that have no entry, and
    entries about changes that were never made. --signatures detects entries that the service did not append. Receipts
    are always compared with those that the audit seals.

    Every part is verified, even if an earlier one is damaged. The first damage of each kind is printed, and the exit
    code is 1.
    """
    if (seals is not None and not public_keys) or (seals is None and max_age is not None):
        raise click.UsageError("--seals needs --public-key, and --max-age needs --seals")
    damage: list[str] = []
    keys, stored = _read_keys_and_seals(public_keys, seals, damage)
    age = None if max_age is None else timedelta(hours=max_age)

    settings = load_command_settings()
    if signatures and not settings.audit_key:
        raise click.UsageError("--signatures needs BUDKAVLE_AUDIT_KEY")

    async def verify_all(database: Database) -> tuple[dict[str, ChainHead], dict[str, str], list[str]]:
        ends, broken = await verify_entries(database, heads, stored, report)
        damage.extend(broken)
        parts: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "receipts": lambda: _verify_receipts(database, settings.receipt_days)
        }
        if stored:
            parts["seals"] = lambda: _verify_seals(database, stored, age, compares_entries=bool(broken))
        parts["checkpoint"] = lambda: verify_checkpoint(database, settings, keys)
        if signatures:
            parts["signatures"] = lambda: verify_signatures(database, settings)
        if state:
            parts["state"] = lambda: verify_state(database)
        lines = await _verify_parts(parts, damage)
        if damage:
            raise BudkavleError("\n".join(dict.fromkeys(damage)))
        lines.append(f"ok: {sum(end.length for end in ends.values())} entries in {len(ends)} chains")
        return ends, await read_system_names(database), lines

    with show_progress("Verifying the audit, entries:") as report:
        ends, names, lines = run_with_database(verify_all, settings, checks_key=False)
    if is_for_people():
        records = [{"chain": name, "entries": end.length, "hash": end.hash} for name, end in sorted(ends.items())]
        print_records(_END_COLUMNS, records, "chains", names)
    else:
        lines = [*(f"{end.hash} {name} {end.length}" for name, end in sorted(ends.items())), *lines]
    for line in lines:
        click.echo(line)


async def append_seal(database: Database, key_path: Path, path: Path, operator: str, *, is_new: bool) -> str:
    """Append a seal to a file and return a line about it."""
    from budkavle.clock import measure_clock
    from budkavle.sealing import read_private_key, seal_audit

    clock = await measure_clock(database)
    written = await seal_audit(
        database, read_private_key(key_path), path, clock.now(), is_new=is_new, operator=operator
    )
    return f"ok: seal {written.number} of {len(written.chains)} chains"


def _read_keys_and_seals(
    key_paths: Sequence[Path], path: Path | None, damage: list[str]
) -> tuple[list[Ed25519PublicKey], list[StoredSeal]]:
    """Return public keys, and the seals in a file. If one is not valid, add to `damage` and return none.

    Raises `SealRefused` if a file cannot be read.
    """
    if not key_paths:
        return [], []
    from budkavle.sealing import SealRefused, read_public_key, read_seals

    keys = [read_public_key(key_path) for key_path in key_paths]
    try:
        return keys, [] if path is None else read_seals(path, keys)
    except SealRefused as exc:
        if path is None or not path.is_file():
            raise
        damage.append(str(exc))
        return keys, []


async def _verify_parts(parts: Mapping[str, Callable[[], Awaitable[list[str]]]], damage: list[str]) -> list[str]:
    """Return the lines about all parts, and add what is wrong to `damage`, which has what was found before."""
    lines: list[str] = []
    for name, verify_part in parts.items():
        try:
            lines += await verify_part()
        except StorageFailed:
            if not damage:
                raise
            damage.append(f"not verified, since the database failed: {name} and what follows")
            break
        except BudkavleError as exc:
            damage.append(str(exc))
        except (AttributeError, LookupError, TypeError, ValueError) as exc:
            # Damaged entries may have details that the service never writes.
            if not damage:
                raise
            damage.append(f"not verified, since entries cannot be read: {name} ({type(exc).__name__})")
    return lines


async def verify_entries(
    database: Database,
    heads: tuple[str, ...],
    seals: Sequence[StoredSeal],
    report: Callable[[int, int], None],
) -> tuple[dict[str, ChainHead], list[str]]:
    """Return the head of each chain, and what is wrong: the first invalid entry, and each hash that no entry has."""
    from persistence import audit as stored

    sealed: Mapping[tuple[str, int], str] = {}
    if seals:
        from budkavle.sealing import collect_hashes

        sealed = collect_hashes(seals)
    found: list[BrokenChain] = []
    for head in heads or (None,):
        ends, broken = await stored.verify(database, head, sealed, report)
        found += [broken] if broken is not None else []
    return ends, list(dict.fromkeys(map(_describe_broken, found)))


def _describe_broken(broken: BrokenChain) -> str:
    entry = f"entry {broken.number} of {broken.chain!r}: " if broken.chain else ""
    return f"the audit is broken: {entry}{broken.reason}"


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
    removed = 0
    with show_progress("Entries removed:") as report:
        async for number in pruner.prune(before, now, operator):
            removed += number
            report(removed)
    return f"ok: {removed} entries removed"


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


async def verify_state(database: Database) -> list[str]:
    """Return no lines. Raises an error with the differences between the stored state and the audit."""
    from budkavle.clock import measure_clock
    from persistence import audit_state

    found = await audit_state.list_differences(database, (await measure_clock(database)).now())
    if found:
        more = [f"and {len(found) - MAX_DIFFERENCES} more"] if len(found) > MAX_DIFFERENCES else []
        raise BudkavleError("\n".join(["the audit does not match the state:", *found[:MAX_DIFFERENCES], *more]))
    return []


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


async def verify_signatures(database: Database, settings: Settings) -> list[str]:
    """Return a line about the signed entries. Raises an error for the first one without a right signature."""
    from budkavle.audit_keys import read_signers
    from persistence import audit_signatures

    number, broken = await audit_signatures.verify(database, read_signers(settings))
    if broken is not None:
        raise BudkavleError(_describe_broken(broken))
    return [f"ok: {number} signed entries"]


async def _verify_receipts(database: Database, days: float) -> list[str]:
    """Return a line about the receipts, if there are any. Raises an error if one differs from its seal."""
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


async def _verify_seals(
    database: Database, seals: Sequence[StoredSeal], max_age: timedelta | None, *, compares_entries: bool
) -> list[str]:
    """Return a line about the seals.

    Raises an error if an entry is not as sealed, if the audit has recorded other seals, or the last one is too old.
    """
    from budkavle.clock import measure_clock
    from budkavle.sealing import check_recorded, collect_hashes
    from persistence import audit_seals

    # Entries of a broken chain were not compared with the seals before.
    unlike = await audit_seals.find_broken_seal(database, collect_hashes(seals)) if compares_entries else None
    if unlike is not None:
        raise BudkavleError(_describe_broken(unlike))
    check_recorded(seals, await audit_seals.list_recorded(database))
    first, last = seals[0].seal, seals[-1].seal
    clock = await measure_clock(database)
    if max_age is not None and last.time < clock.now() - max_age:
        raise BudkavleError(f"the last seal, {last.number} of {write_moment(last.time)}, is too old")
    return [f"ok: seals {first.number} to {last.number}, the last one of {write_moment(last.time)}"]
