"""Remove the oldest entries of the audit, up to a checkpoint that is signed (decision 0036).

What remains can be verified from the checkpoint on. Of each chain, the last entry is kept.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa

from domain.audit import API_KEYS, CATALOGUE, OTHER_CHAINS, RECEIPTS, RETENTION, SIGNING, AuditEntry, ChainHead
from domain.audit_checkpoints import SignedCheckpoint
from domain.audit_state import (
    CHANGED,
    RecordedChange,
    list_pause_changes,
    summarise_catalogue,
    summarise_keys,
    summarise_pauses,
    summarise_subscriptions,
)
from domain.receipt_rounds import KIND as RECEIPTS_KIND
from persistence import audit
from persistence.audit_checkpoints import read_last_checkpoint
from persistence.database import Database
from persistence.delivery_pauses import PAUSE, RESUME
from persistence.tables import audit_entries, chains
from persistence.work import bulk_write, long_read

REMOVED_AT_ONCE = 50_000
"""Maximum entries that one transaction removes."""


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The entries that one transaction may remove: the last of each chain, their number, and the parts of a checkpoint.

    `head` is the end of the chain of checkpoints at the time of the plan.
    """

    head: ChainHead
    previous: SignedCheckpoint | None
    chains: Mapping[str, ChainHead]
    number: int
    receipts_until: int
    state: Mapping[str, Mapping[str, Any]]


async def plan_prune(
    database: Database, before: datetime, receipts_before: datetime, limit: int = REMOVED_AT_ONCE
) -> PrunePlan:
    """Return how to remove at most `limit` entries from before a time.

    Entries that seal receipts remain until `receipts_before`, so that there are no receipts of removed ones. Raises
    `ValueError` if the last checkpoint cannot be read.
    """
    return await database.read(_plan, before, min(before, receipts_before), limit)


async def prune(database: Database, plan: PrunePlan, entry: AuditEntry) -> bool:
    """Remove entries, and append the one with the checkpoint. Return False if another process has changed its chain."""
    return await database.write(_prune, plan, entry)


_e = audit_entries.c
_PAUSES = (PAUSE, RESUME)
_OF_CHAIN = (_e.chain == sa.bindparam("chain_name"), _e.number > sa.bindparam("after"))
_FIRST_KEPT = sa.select(sa.func.min(_e.number)).where(*_OF_CHAIN, _e.time >= sa.bindparam("before"))
_SEALING = (
    sa.select(_e.number, _e.detail)
    .where(*_OF_CHAIN, _e.number <= sa.bindparam("last"), _e.kind == RECEIPTS_KIND)
    .order_by(_e.number)
    .execution_options(yield_per=20)
)
_AT = sa.select(_e.kind, _e.request_id, _e.hash, _e.detail).where(
    _e.chain == sa.bindparam("chain_name"), _e.number == sa.bindparam("number")
)
_CHANGES = (
    sa.select(_e.number, _e.kind, _e.operation, _e.request_id, _e.detail, _e.caller)
    .where(
        *_OF_CHAIN,
        _e.number <= sa.bindparam("last"),
        (_e.kind == "change") | (_e.operation.in_(_PAUSES) & (_e.outcome == CHANGED)),
    )
    .order_by(_e.number)
    .execution_options(yield_per=20)
)
_REMOVE = audit_entries.delete().where(_e.chain == sa.bindparam("chain_name"), _e.number <= sa.bindparam("last"))


@long_read
def _plan(connection: sa.Connection, before: datetime, receipts_before: datetime, limit: int) -> PrunePlan:
    previous = read_last_checkpoint(connection)
    heads = {row.name: ChainHead(row.head, row.length) for row in connection.execute(chains.select())}
    removed = {} if previous is None else dict(previous.checkpoint.chains)
    state = {} if previous is None else dict(previous.checkpoint.state)
    until = 0 if previous is None else previous.checkpoint.receipts_until
    number = 0
    # The rounds of receipts come first, because batches of other chains are removed with them. The chain to which each
    # prune appends comes last, and alone it is no reason for another one. Without the statements that entries are
    # signed, no signature could be verified.
    for name in sorted(heads.keys() - {SIGNING}, key=lambda each: (each == RETENTION, each != RECEIPTS, each)):
        if name == RETENTION and number == 0:
            continue
        start = removed[name].length if name in removed else 0
        cut = _find_cut(
            connection, name, start, heads[name].length - 1, receipts_before if name == RECEIPTS else before, until
        )
        cut = _avoid_pair(connection, name, start, min(cut, start + limit - number))
        if cut <= start:
            continue
        row = connection.execute(_AT, {"chain_name": name, "number": cut}).one()
        if name == RECEIPTS:
            until = json.loads(row.detail)["until"]
        elif name in {CATALOGUE, API_KEYS} or name not in OTHER_CHAINS:
            state[name] = _summarise(connection, name, start, cut, state.get(name, {}))
        removed[name] = ChainHead(row.hash, cut)
        number += cut - start
    return PrunePlan(heads.get(RETENTION, audit.NO_ENTRY), previous, removed, number, until, state)


def _find_cut(connection: sa.Connection, name: str, start: int, last: int, before: datetime, until: int) -> int:
    """Return the number of the last entry of a chain that may be removed: at most `last`, and all since `start`."""
    first_kept = connection.execute(_FIRST_KEPT, {"chain_name": name, "after": start, "before": before}).scalar()
    cut = last if first_kept is None else min(last, first_kept - 1)
    if name == RECEIPTS:
        return cut
    with connection.execute(_SEALING, {"chain_name": name, "after": start, "last": cut}) as rows:
        for number, detail in rows:
            if json.loads(detail)["last"] > until:
                return int(number) - 1
    return cut


def _avoid_pair(connection: sa.Connection, name: str, start: int, cut: int) -> int:
    """Return a number that does not separate a call from the entry that describes its change."""
    if cut <= start:
        return cut
    last, following = (
        connection.execute(_AT, {"chain_name": name, "number": number}).first() for number in (cut, cut + 1)
    )
    is_pair = (
        last is not None
        and following is not None
        and (last.kind, following.kind, last.request_id) == ("call", "change", following.request_id)
    )
    return cut - 1 if is_pair else cut


def _summarise(
    connection: sa.Connection, name: str, start: int, cut: int, before: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return one change that leads to the same state as `before` and the removed changes."""
    first = [RecordedChange(0, "change", "-", before)] if before else []
    changes = chain(first, _iterate_changes(connection, name, start, cut, of_pauses=False))
    if name == CATALOGUE:
        return summarise_catalogue(changes)
    if name == API_KEYS:
        return summarise_keys(changes)
    pauses = chain(list_pause_changes(before), _iterate_changes(connection, name, start, cut, of_pauses=True))
    return summarise_subscriptions(changes) | summarise_pauses(pauses)


def _iterate_changes(
    connection: sa.Connection, name: str, start: int, cut: int, *, of_pauses: bool
) -> Iterator[RecordedChange]:
    with connection.execute(_CHANGES, {"chain_name": name, "after": start, "last": cut}) as rows:
        for number, kind, operation, request_id, detail, caller in rows:
            if (operation in _PAUSES) is of_pauses:
                yield RecordedChange(number, kind, request_id, json.loads(detail), caller)


@bulk_write
def _prune(connection: sa.Connection, plan: PrunePlan, entry: AuditEntry) -> bool:
    head = audit.lock_chain(connection, RETENTION)
    if head != plan.head:
        return False
    connection.execute(_REMOVE, [{"chain_name": name, "last": end.length} for name, end in plan.chains.items()])
    audit.append(connection, RETENTION, head, [entry])
    return True
