"""Seal receipts in the audit, and compare them with what was sealed (decision 0032).

Receipts are sealed in rounds by number. A round seals those of all systems, each in batches in the chain of its system,
and the round itself in the chain `receipts`.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import RECEIPTS, AuditEntry, ChainHead
from domain.receipt_rounds import (
    KIND,
    OPERATION,
    OUTCOME,
    BatchBuilder,
    ReceiptBatch,
    ReceiptRound,
    StoredReceipt,
    find_difference,
    hash_receipt,
    parse_batch,
    write_failures,
)
from persistence import audit
from persistence.audit_checkpoints import read_last_checkpoint
from persistence.database import Database
from persistence.prepared import PreparedStatement
from persistence.tables import audit_entries, receipts
from persistence.work import large_write, long_read, short_read, short_write

PAGE = 1000
"""Receipts that are read at once."""

BATCH = 1000
"""Maximum receipts of a batch."""

ROUND = 50_000
"""Maximum receipts of a round, which is one transaction."""


@dataclass(frozen=True, slots=True)
class SealEnd:
    """The newest receipt that can be sealed once `transaction` and all earlier ones have ended.

    Transactions may store receipts with lower numbers until then. On SQLite there are none, and it is None.
    """

    number: int
    transaction: int | None


@dataclass(frozen=True, slots=True)
class ReceiptCounts:
    """The receipts that were compared with what is sealed, those that have expired, and those not sealed yet."""

    sealed: int
    removed: int
    unsealed: int


async def find_end(database: Database) -> SealEnd:
    """Return the newest receipt, and the transaction that must end before it can be sealed."""
    return await database.write(_find_end)


async def has_ended(database: Database, end: SealEnd) -> bool:
    """Return whether no transaction can store a receipt up to `end` any more."""
    return end.transaction is None or await database.read(_has_ended, end.transaction)


async def find_last_round(database: Database) -> datetime | None:
    """Return the time of the last round, or None."""
    return await database.read(_find_last_round)


async def seal_round(database: Database, end: int, now: datetime, request_id: str) -> int:
    """Seal the next receipts up to number `end`, at most `ROUND`. Return their number.

    The entries of the round have `request_id`. If another process seals at the same time, one of them seals nothing.
    """
    head, sealed = await database.read(_build_round, end)
    if sealed.count == 0 or not await database.write(_append_round, head, sealed, now, request_id):
        return 0
    return sealed.count


async def verify(database: Database, expired_before: datetime) -> tuple[ReceiptCounts, str | None]:
    """Compare the receipts with what is sealed. Return their numbers, and the first difference or None.

    Receipts whose last attempt was before `expired_before` may have been removed. `audit.verify` checks the entries.
    """
    return await database.read(_verify, expired_before)


_NEWEST = sa.select(sa.func.coalesce(sa.func.max(receipts.c.number), 0))
_OWN_TRANSACTION = sa.text("select cast(cast(pg_current_xact_id() as text) as bigint)")
_HAVE_ENDED = sa.text(
    "select cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint) > :transaction"
).bindparams(sa.bindparam("transaction", type_=sa.BigInteger))

_TIMES = ("accepted", "first_attempt", "last_attempt")
_HASHED: tuple[str, ...] = (
    "number",
    "id",
    "event_id",
    "system_id",
    "org_type",
    "org_code",
    "entity_type",
    "webhook_url",
    *_TIMES,
)
_HASHED += ("attempts", "status", "milliseconds", "hash")


def _format_time(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """Return the time as the text that is hashed: converting it here would take longer than the hash."""
    if dialect == "postgresql":
        utc = sa.func.timezone("UTC", column)
        return sa.func.to_char(utc, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'"""))
    text = sa.type_coerce(column, sa.Text)
    # Only texts, since other values are converted without an error.
    day, time = (sa.func.substr(text, start, size, type_=sa.Text) for start, size in ((1, 10), (12, 12)))
    written = day + sa.literal_column("'T'") + time + sa.literal_column("'+00:00'")
    return sa.case((sa.func.typeof(column) == sa.literal_column("'text'"), written))


def _select_hashed(dialect: str) -> PreparedStatement:
    """Return the statement that reads a page of receipts by number, with their values as they are hashed."""
    columns: list[sa.ColumnElement[Any]] = []
    for name in _HASHED:
        column = receipts.c[name]
        is_uuid = isinstance(column.type, sa.Uuid) and dialect == "postgresql"
        value = _format_time(column, dialect) if name in _TIMES else sa.cast(column, sa.Text) if is_uuid else column
        columns.append(value.label(name))
    failures = sa.cast(receipts.c.failures, sa.Text)
    first, last = (sa.bindparam(name, type_=sa.BigInteger) for name in ("first", "last"))
    return PreparedStatement(
        sa.select(*columns, failures.label("failures"))
        .where(receipts.c.number >= first, receipts.c.number <= last)
        .order_by(receipts.c.number)
        .limit(PAGE)
    )


_RECEIPTS = {dialect: _select_hashed(dialect) for dialect in ("sqlite", "postgresql")}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_LAST_ROUND = (
    sa.select(audit_entries.c.time, audit_entries.c.number, audit_entries.c.hash, audit_entries.c.detail)
    .where(audit_entries.c.chain == RECEIPTS)
    .order_by(audit_entries.c.number.desc())
    .limit(1)
)
_ENTRIES = (
    sa.select(
        audit_entries.c.id,
        audit_entries.c.chain,
        audit_entries.c.number,
        audit_entries.c.request_id,
        audit_entries.c.detail,
    )
    .where(audit_entries.c.kind == KIND, audit_entries.c.id > sa.bindparam("after"))
    .order_by(audit_entries.c.id)
    .limit(PAGE)
)


@short_write
def _find_end(connection: sa.Connection) -> SealEnd:
    number = connection.execute(_NEWEST).scalar_one()
    if connection.dialect.name == "sqlite":
        return SealEnd(number, None)
    # A later statement: a transaction that has drawn a lower number began before it.
    return SealEnd(number, connection.execute(_OWN_TRANSACTION).scalar_one())


@short_read
def _has_ended(connection: sa.Connection, transaction: int) -> bool:
    return bool(connection.execute(_HAVE_ENDED, {"transaction": transaction}).scalar_one())


@short_read
def _find_last_round(connection: sa.Connection) -> datetime | None:
    row = connection.execute(_LAST_ROUND).first()
    return None if row is None else row.time


@long_read
def _build_round(connection: sa.Connection, end: int) -> tuple[ChainHead | None, ReceiptRound]:
    """Return the last round's entry, None without one, and the next round."""
    row = connection.execute(_LAST_ROUND).first()
    after = 0 if row is None else json.loads(row.detail)["until"]
    builders: defaultdict[str, list[BatchBuilder]] = defaultdict(lambda: [BatchBuilder()])
    until, count = after, 0
    for receipt in _iterate_receipts(connection, after + 1, end):
        if count == ROUND:
            break
        builder = builders[receipt.system_id][-1]
        if len(builder) == BATCH:
            builder = BatchBuilder()
            builders[receipt.system_id].append(builder)
        builder.add(receipt)
        until, count = receipt.number, count + 1
    else:
        until = max(after, end)
    batches = {name: [builder.build() for builder in built] for name, built in builders.items()}
    return None if row is None else ChainHead(row.hash, row.number), ReceiptRound(after, until, batches)


@large_write
def _append_round(
    connection: sa.Connection, previous: ChainHead | None, sealed: ReceiptRound, now: datetime, request_id: str
) -> bool:
    """Append the entries of a round. Return False if another process has sealed since the last one, `previous`."""
    # Only rounds lock this chain, and they lock it first, so it cannot be part of a deadlock.
    head = audit.lock_chain(connection, RECEIPTS)
    if head.length != (0 if previous is None else previous.length) or (previous is not None and head != previous):
        return False

    def build(chain: str, detail: dict[str, Any]) -> AuditEntry:
        return AuditEntry(chain, KIND, now, OPERATION, "-", OUTCOME, request_id, detail)

    entries = {name: [build(name, asdict(batch)) for batch in batches] for name, batches in sealed.batches.items()}
    audit.append_to_chains(connection, audit.lock_chains(connection, entries.keys()), entries)
    audit.append(connection, RECEIPTS, head, [build(RECEIPTS, sealed.describe())])
    return True


def _iterate_receipts(connection: sa.Connection, first: int, last: int) -> Iterator[StoredReceipt]:
    """Yield the receipts from number `first` to `last`."""
    statement = _RECEIPTS[connection.dialect.name]
    while rows := statement.execute(connection, first=first, last=last):
        for row in rows:
            number, id_, _, system_id, *_, last_attempt, _, _, _, _, failures = row
            hash_ = hash_receipt(row[:-1], write_failures(failures))
            yield StoredReceipt(number, id_, system_id, last_attempt, hash_)
        first = number + 1


@long_read
def _verify(connection: sa.Connection, expired_before: datetime) -> tuple[ReceiptCounts, str | None]:
    check = _Verification(connection, expired_before)
    try:
        fault = check.find_fault()
    except (AttributeError, KeyError, TypeError, ValueError):
        # SQLite accepts values of any type in any column.
        fault = f"a receipt or an entry cannot be read after receipt number {check.until}"
    return ReceiptCounts(check.sealed, check.removed, check.unsealed), fault


class _Verification:
    """Compares receipts with what is sealed, round by round."""

    def __init__(self, connection: sa.Connection, expired_before: datetime) -> None:
        self._connection = connection
        self._expired_before = expired_before
        # One pass over all receipts, also those with numbers that no round has.
        self._receipts = _iterate_receipts(connection, _SMALLEST, _LARGEST)
        self._next = next(self._receipts, None)
        last = read_last_checkpoint(connection)
        # Receipts of removed entries had expired then.
        self._expired = None if last is None else last.checkpoint.receipts_expired
        self.until = self._removed_until = 0 if last is None else last.checkpoint.receipts_until
        self.sealed = self.removed = self.unsealed = 0

    def find_fault(self) -> str | None:
        """Return the first difference, or None."""
        while self._expired is not None and self._next is not None and 0 < self._next.number <= self._removed_until:
            if datetime.fromisoformat(self._next.last_attempt) >= self._expired:
                return f"receipt {self._next.id} of {self._next.system_id!r} was added before the checkpoint"
            self._next = next(self._receipts, None)
            self.removed += 1
        # The batches of a round precede its entry, and have its request id.
        batches: defaultdict[str, list[tuple[int, ReceiptBatch]]] = defaultdict(list)
        request_ids = set()
        for chain, number, request_id, detail in self._iterate_entries():
            if chain != RECEIPTS and detail["last"] <= self._removed_until:
                # Its round was removed, and an older entry of its chain was not.
                continue
            request_ids.add(request_id)
            if chain != RECEIPTS:
                batches[chain].append((number, parse_batch(detail)))
                continue
            until = detail["until"]
            its_batches = {name: [batch for _, batch in each] for name, each in batches.items()}
            if len(request_ids) != 1 or detail != ReceiptRound(self.until, until, its_batches).describe():
                return f"entry {number} of {RECEIPTS!r} does not continue the last one, or lacks batches of its round"
            fault = self._check_round(until, batches)
            if fault is not None:
                return fault
            batches.clear()
            request_ids.clear()
        if batches:
            return f"entry {next(iter(batches.values()))[0][0]} of {next(iter(batches))!r} belongs to no round"
        while self._next is not None:
            self._next = next(self._receipts, None)
            self.unsealed += 1
        return None

    def _check_round(self, until: int, batches: dict[str, list[tuple[int, ReceiptBatch]]]) -> str | None:
        self.until = until
        found: defaultdict[str, list[StoredReceipt]] = defaultdict(list)
        while self._next is not None and self._next.number <= until:
            found[self._next.system_id].append(self._next)
            self._next = next(self._receipts, None)
        for chain, sealed in batches.items():
            stored = found.pop(chain, [])
            for number, batch in sealed:
                own = [receipt for receipt in stored if receipt.number <= batch.last]
                stored = stored[len(own) :]
                difference = find_difference(batch, own, self._expired_before)
                if difference is not None:
                    return f"receipts {batch.first} to {batch.last}, entry {number} of {chain!r}: {difference}"
                self.sealed += len(own)
                self.removed += batch.count - len(own)
            if stored:
                found[chain] = stored
        for chain, added in found.items():
            return f"receipt {added[0].id} of {chain!r} was added: no entry has it"
        return None

    def _iterate_entries(self) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
        after = 0
        while rows := self._connection.execute(_ENTRIES, {"after": after}).all():
            for after, chain, number, request_id, detail in rows:  # noqa: B007  # The next page begins after the last entry.
                yield chain, number, request_id, json.loads(detail)
