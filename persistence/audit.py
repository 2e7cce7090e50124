"""Append entries to the audit log, list them and verify their hash chains.

Entries are never changed, and removed only up to a checkpoint (`persistence/audit_pruning.py`).
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain import audit as domain
from domain.audit import AuditEntry, BrokenChain, ChainedEntry, ChainHead
from domain.audit_signatures import EntrySigner
from domain.errors import StorageFailed
from domain.time_ranges import TimeRange
from persistence.audit_checkpoints import read_removed_ends
from persistence.audit_seals import find_unlike_sealed
from persistence.database import SIGNER_OPTION, Database, to_json
from persistence.prepared import PreparedStatement
from persistence.tables import audit_entries as entries_table
from persistence.tables import chains as chains_table
from persistence.tables import subscriptions, systems
from persistence.time_ranges import limit_to
from persistence.work import large_read, long_read, short_write

NO_ENTRY = ChainHead(domain.FIRST_HASH, 0)
"""The end of an empty chain."""


async def record(database: Database, entry: AuditEntry) -> None:
    """Append one entry in its own transaction, for calls that changed nothing."""
    async with database.locks.hold(entry.chain):
        await database.write(_record, entry)


async def record_all(database: Database, chain: str, entries: list[AuditEntry]) -> None:
    """Append entries to one chain in a single transaction."""
    async with database.locks.hold(chain):
        await database.write(_record_all, chain, entries)


async def list_page(
    database: Database, *, after: int, limit: int, chain: str | None = None, since: datetime | None = None
) -> list[tuple[int, ChainedEntry]]:
    """Return at most `limit` entries after the one with the id `after`, oldest first, each with its id.

    The order is that of the numbers of a chain, of times with `since` alone, and otherwise of ids.
    """
    return await database.read(_list_page, after, limit, chain, since)


async def list_latest(database: Database, chain: str, limit: int) -> list[ChainedEntry]:
    """Return the last entries of a chain, at most `limit`, the newest first."""
    return await database.read(_list_latest, chain, limit)


async def list_of_request(database: Database, request_id: str, times: TimeRange, limit: int) -> list[ChainedEntry]:
    """Return at most `limit` entries about a request, oldest first. This reads all entries of the range of times."""
    return await database.read(_list_of_request, request_id, times, limit)


async def verify(
    database: Database,
    kept: str | None = None,
    sealed: Mapping[tuple[str, int], str] | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[dict[str, ChainHead], BrokenChain | None]:
    """Return the heads of all chains, and the first entry that was changed, removed, moved or added, or None.

    `kept` is an earlier head hash that was stored outside the database, where it could not be rewritten together with
    the chain. An entry must still have this hash. If none has, the chain of the hash is unknown and `BrokenChain` has
    the chain `""`. `sealed` has the hashes of entries that were sealed, by chain and number. `report` is called with
    the number of verified entries and that of all.
    """
    return await database.read(_verify, kept, sealed or {}, report)


def lock_chain(connection: sa.Connection, name: str) -> ChainHead:
    """Lock a chain until the transaction ends and return its head. Create the chain if it does not exist.

    The lock serialises the entries of the chain. A transaction that locks several chains locks that of the catalogue
    first. Raises `StorageFailed` if entries are signed and this process has no key.
    """
    rows = _LOCK.execute(connection, chain_name=name)
    if not rows:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        first = {"name": name, "head": domain.FIRST_HASH, "length": 0}
        connection.execute(insert(chains_table).on_conflict_do_nothing(), first)
        rows = _LOCK.execute(connection, chain_name=name)
    [(hash_, length, is_signed)] = rows
    if is_signed and _get_signer(connection) is None:
        raise StorageFailed("no audit key", "the entries of the audit are signed: set BUDKAVLE_AUDIT_KEY")
    return ChainHead(hash_, length)


def share_catalogue(connection: sa.Connection) -> None:
    """Prevent changes of the catalogue until the transaction ends. The lock is shared."""
    # Without a row there has never been a catalogue, so nothing can be removed from it.
    connection.execute(_SHARE, {"chain_name": domain.CATALOGUE})


def lock_chains(connection: sa.Connection, names: Collection[str]) -> dict[str, ChainHead]:
    """Lock several chains as `lock_chain` does, in sorted order, and return their heads."""
    if connection.dialect.name == "postgresql":
        rows = connection.execute(_LOCK_MANY, {"names": to_json(list(names))})
        heads = {name: ChainHead(hash_, length) for name, hash_, length in rows}
        if len(heads) == len(names):
            return heads
    return {name: lock_chain(connection, name) for name in sorted(names)}


def append(connection: sa.Connection, name: str, head: ChainHead, entries: list[AuditEntry]) -> None:
    """Append entries to a locked chain whose head is `head`."""
    rows, end = _chain(connection, name, head, entries)
    if len(rows) == 1 and connection.dialect.name == "postgresql":
        _INSERT_AND_MOVE_HEAD.execute(connection, **rows[0], **end)
    else:
        _INSERT.execute_many(connection, rows)
        _MOVE_HEAD.execute(connection, **end)


def append_to_chains(
    connection: sa.Connection, heads: Mapping[str, ChainHead], entries: Mapping[str, list[AuditEntry]]
) -> None:
    """Append entries to locked chains, with as few statements as to one."""
    chained = [_chain(connection, name, heads[name], entries[name]) for name in entries]
    _INSERT.execute_many(connection, [row for rows, _ in chained for row in rows])
    _MOVE_HEAD.execute_many(connection, [end for _, end in chained])


def _get_signer(connection: sa.Connection) -> EntrySigner | None:
    signer: EntrySigner | None = connection.get_execution_options().get(SIGNER_OPTION)
    return signer


def _chain(
    connection: sa.Connection, name: str, head: ChainHead, entries: list[AuditEntry]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of entries that follow `head`, and the parameters of the new end of the chain."""
    signer = _get_signer(connection)
    rows: list[dict[str, Any]] = []
    hash_, number = head.hash, head.length
    for given in entries:
        entry = replace(given, chain=name, time=domain.truncate_time(given.time))
        detail = domain.write_detail(entry.detail)
        number += 1
        hash_ = domain.hash_entry(entry, detail, number, hash_)
        signature = None if signer is None else signer.sign(name, hash_)
        rows.append(_to_row(entry, detail, number, hash_) | {"signature": signature})
    return rows, {"chain_name": name, "new_head": hash_, "new_length": number}


_signing = chains_table.alias("signing")
_LOCK = PreparedStatement(
    sa.select(
        chains_table.c.head,
        chains_table.c.length,
        sa.exists(sa.select(1).where(_signing.c.name == domain.SIGNING)).label("is_signed"),
    )
    .where(chains_table.c.name == sa.bindparam("chain_name"))
    .with_for_update()
)
# Python sorts by code points, as the collation "C".
_LOCK_MANY = sa.text("""
    select name, head, length from chains
    where name in (select jsonb_array_elements_text(cast(:names as jsonb))) order by name collate "C" for update
""").bindparams(sa.bindparam("names", type_=sa.Text))
_SHARE = (
    sa.select(chains_table.c.name).where(chains_table.c.name == sa.bindparam("chain_name")).with_for_update(read=True)
)
_INSERT_ENTRY = (
    entries_table.insert()
    .values({column: sa.bindparam(column.name) for column in entries_table.c if column.name != "id"})
    .inline()
)
_INSERT = PreparedStatement(_INSERT_ENTRY)
_OF_A_CHAIN = (
    entries_table.select()
    .where(entries_table.c.chain == sa.bindparam("chain_name"))
    .order_by(entries_table.c.number, entries_table.c.id)
    # Fetch few rows at a time, because one entry may describe 50,000 changes.
    .execution_options(yield_per=20)
)
_LARGE_CHARACTERS = 16_384
"""Verification reads longer details one at a time, because one entry may describe 50,000 changes."""
_ROWS = 1000
"""Entries that verification reads at once."""
_utc_time = sa.func.timezone("UTC", entries_table.c.time)
_HASHED_TIME = {
    # `to_char` writes years before Christ like those after.
    "postgresql": sa.case(
        (
            _utc_time >= sa.literal_column("timestamp '0001-01-01'"),
            sa.func.to_char(_utc_time, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'""")),
        )
    ),
    # `replace` would convert a value of another type to text.
    "sqlite": sa.case(
        (
            sa.func.typeof(entries_table.c.time) == sa.literal_column("'text'"),
            sa.func.replace(sa.type_coerce(entries_table.c.time, sa.Text), " ", "T") + "+00:00",
        )
    ),
}
"""The time of an entry as the text that is hashed, by dialect: a conversion here would take longer than the hash.

It is null for a time that no entry can have.
"""
_HASHED = {
    dialect: sa.select(
        entries_table.c.id,
        entries_table.c.number,
        entries_table.c.hash,
        entries_table.c.chain,
        entries_table.c.kind,
        time.label("time"),
        entries_table.c.operation,
        entries_table.c.caller,
        entries_table.c.outcome,
        entries_table.c.request_id,
        sa.case((sa.func.length(entries_table.c.detail) <= _LARGE_CHARACTERS, entries_table.c.detail)).label("detail"),
    )
    .order_by(entries_table.c.id)
    .limit(_ROWS)
    for dialect, time in _HASHED_TIME.items()
}
_FIRST_HASHED = {dialect: PreparedStatement(select) for dialect, select in _HASHED.items()}
_HASHED_AFTER = {
    dialect: PreparedStatement(select.where(entries_table.c.id > sa.bindparam("after")))
    for dialect, select in _HASHED.items()
}
_DETAIL = sa.select(entries_table.c.detail).where(entries_table.c.id == sa.bindparam("entry_id"))
_MOVE = (
    chains_table.update()
    .where(chains_table.c.name == sa.bindparam("chain_name"))
    .values(head=sa.bindparam("new_head"), length=sa.bindparam("new_length"))
)
_MOVE_HEAD = PreparedStatement(_MOVE)
_INSERT_AND_MOVE_HEAD = PreparedStatement(_INSERT_ENTRY.add_cte(_MOVE.cte("moved")))
"""PostgreSQL: one statement for one entry."""


@short_write
def _record(connection: sa.Connection, entry: AuditEntry) -> None:
    append(connection, entry.chain, lock_chain(connection, entry.chain), [entry])


@short_write
def _record_all(connection: sa.Connection, chain: str, entries: list[AuditEntry]) -> None:
    append(connection, chain, lock_chain(connection, chain), entries)


@large_read
def _list_page(
    connection: sa.Connection, after: int, limit: int, chain: str | None, since: datetime | None
) -> list[tuple[int, ChainedEntry]]:
    rows = connection.execute(_select_page(connection, after, limit, chain, since)).mappings()
    return [(row["id"], _build_chained(row)) for row in rows]


@large_read
def _list_latest(connection: sa.Connection, chain: str, limit: int) -> list[ChainedEntry]:
    select = entries_table.select().where(entries_table.c.chain == chain)
    select = select.order_by(entries_table.c.number.desc(), entries_table.c.id.desc()).limit(limit)
    return [_build_chained(row) for row in connection.execute(select).mappings()]


@long_read
def _list_of_request(connection: sa.Connection, request_id: str, times: TimeRange, limit: int) -> list[ChainedEntry]:
    select = entries_table.select().where(entries_table.c.request_id == request_id)
    select = limit_to(select, entries_table.c.time, times)
    rows = connection.execute(select.order_by(entries_table.c.time, entries_table.c.id).limit(limit))
    return [_build_chained(row) for row in rows.mappings()]


def _select_page(
    connection: sa.Connection, after: int, limit: int, chain: str | None, since: datetime | None
) -> sa.Select[Any]:
    table = entries_table
    select = table.select().limit(limit)
    # Each order has an index. By ids, the database would read all chains, and all entries before `since`.
    if chain is not None:
        select, column = select.where(table.c.chain == chain), table.c.number
    elif since is not None:
        column = table.c.time
    else:
        return select.where(table.c.id > after).order_by(table.c.id)
    row = connection.execute(sa.select(column).where(table.c.id == after)).first()
    if row is not None:
        select = select.where(sa.tuple_(column, table.c.id) > sa.tuple_(sa.literal(row[0], column.type), after))
    if since is not None:
        select = select.where(table.c.time >= since)
    return select.order_by(column, table.c.id)


def _to_row(entry: AuditEntry, detail: str, number: int, hash_: str) -> dict[str, Any]:
    return {
        "chain": entry.chain,
        "number": number,
        "kind": entry.kind,
        "time": entry.time,
        "operation": entry.operation,
        "caller": entry.caller,
        "outcome": entry.outcome,
        "request_id": entry.request_id,
        "detail": detail,
        "hash": hash_,
    }


def _build_chained(row: sa.RowMapping) -> ChainedEntry:
    entry = _build_entry(row, json.loads(row["detail"]))
    return ChainedEntry(entry, row["number"], row["hash"], row["detail"], row["signature"])


def _build_entry(row: sa.RowMapping, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        chain=row["chain"],
        kind=row["kind"],
        time=row["time"],
        operation=row["operation"],
        caller=row["caller"],
        outcome=row["outcome"],
        request_id=row["request_id"],
        detail=detail,
    )


@long_read
def _verify(
    connection: sa.Connection,
    kept: str | None,
    sealed: Mapping[tuple[str, int], str],
    report: Callable[[int, int], None],
) -> tuple[dict[str, ChainHead], BrokenChain | None]:
    try:
        starts = read_removed_ends(connection)
    except ValueError:
        return {}, BrokenChain(domain.RETENTION, 0, "the last checkpoint cannot be read")
    heads, broken = _verify_chains(connection, kept, starts, report)
    return heads, broken or find_unlike_sealed(connection, sealed)


def _verify_chains(
    connection: sa.Connection, kept: str | None, starts: Mapping[str, ChainHead], report: Callable[[int, int], None]
) -> tuple[dict[str, ChainHead], BrokenChain | None]:
    """Verify all chains, each from its last removed entry on."""
    heads = {row.name: ChainHead(row.head, row.length) for row in connection.execute(chains_table.select())}
    total = sum(head.length for head in heads.values()) - sum(start.length for start in starts.values())
    ends, is_found = _read_ends(connection, kept, starts, lambda done: report(done, total))
    names = {*heads, *_list_required_names(connection), *(ends or ())}
    if ends is not None and not any(_verify_end(name, ends.get(name, NO_ENTRY), heads.get(name)) for name in names):
        return heads, None if is_found else _find_no_hash(kept)
    # Something is wrong. Read the chains one by one to find the first invalid entry.
    is_found = _is_found(kept, starts)
    for name in sorted(set(heads) | _list_names(connection)):
        broken, has_kept = _verify_chain(connection, name, starts.get(name, NO_ENTRY), heads.get(name), kept)
        if broken is not None:
            return heads, broken
        is_found = is_found or has_kept
    return heads, None if is_found else _find_no_hash(kept)


def _is_found(kept: str | None, starts: Mapping[str, ChainHead]) -> bool:
    return kept is None or any(start.hash == kept for start in starts.values())


def _find_no_hash(kept: str | None) -> BrokenChain:
    return BrokenChain("", 0, f"no entry has the hash {kept}")


def _read_ends(
    connection: sa.Connection, kept: str | None, starts: Mapping[str, ChainHead], report: Callable[[int], None]
) -> tuple[dict[str, ChainHead] | None, bool]:
    """Return the last entry of each chain, or None if an entry is invalid, and whether one has the hash `kept`.

    This reads the entries of all chains in the order in which they are stored, several times as fast as chain by chain.
    """
    # Neither objects of classes nor look-ups of globals: they would cost as much as the hashes.
    ends: dict[str, tuple[str, int]] = {name: (start.hash, start.length) for name, start in starts.items()}
    is_found = _is_found(kept, starts)
    first, hash_fields = (domain.FIRST_HASH, 0), domain.hash_fields
    dialect = connection.dialect.name
    done = 0
    try:
        rows = _FIRST_HASHED[dialect].execute(connection)
        while rows:
            for entry_id, number, written, chain, kind, time, operation, caller, outcome, request_id, short in rows:
                previous, length = ends.get(chain, first)
                detail = connection.execute(_DETAIL, {"entry_id": entry_id}).scalar_one() if short is None else short
                hash_ = hash_fields(previous, chain, number, kind, time, operation, caller, outcome, request_id, detail)
                if hash_ != written or number != length + 1:
                    return None, False
                ends[chain] = hash_, number
                if hash_ == kept:
                    is_found = True
            done += len(rows)
            report(done)
            rows = _HASHED_AFTER[dialect].execute(connection, after=entry_id)
    except (TypeError, ValueError, AttributeError):
        # SQLite accepts values of any type in any column.
        return None, False
    return {name: ChainHead(*end) for name, end in ends.items()}, is_found


def _list_names(connection: sa.Connection) -> set[str]:
    """Return the names of the chains that have entries, and of those that must have entries."""
    names = set(connection.execute(sa.select(entries_table.c.chain).distinct()).scalars())
    return names | _list_required_names(connection)


def _list_required_names(connection: sa.Connection) -> set[str]:
    # Every subscription results from a sync, and every system from an apply; both are audited.
    names = set(connection.execute(sa.select(subscriptions.c.system_id).distinct()).scalars())
    if connection.execute(sa.select(systems.c.id).limit(1)).first() is not None:
        names.add(domain.CATALOGUE)
    return names


def _verify_chain(
    connection: sa.Connection, name: str, start: ChainHead, head: ChainHead | None, kept: str | None
) -> tuple[BrokenChain | None, bool]:
    """Return the first invalid entry of a chain after `start`, and whether one of its entries has the hash `kept`."""
    hash_, number, id_ = start.hash, start.length, 0
    is_found = False
    try:
        with connection.execute(_OF_A_CHAIN, {"chain_name": name}) as rows:
            for row in rows.mappings():
                if row["number"] <= number:
                    return BrokenChain(name, row["number"], "it was added"), is_found
                number += 1
                if row["number"] > number:
                    return BrokenChain(name, number, "it is missing"), is_found
                hash_ = domain.hash_entry(_build_entry(row, {}), row["detail"], number, hash_)
                if row["hash"] != hash_ or row["id"] <= id_:
                    return BrokenChain(name, number, "it was changed or moved"), is_found
                id_ = row["id"]
                is_found = is_found or hash_ == kept
    except (TypeError, ValueError, AttributeError, OverflowError):
        # SQLite accepts values of any type in any column, and PostgreSQL times that Python does not have. PostgreSQL
        # sends 20 entries at once, so the invalid one may follow the one with this number.
        return BrokenChain(name, number + 1, "it cannot be read"), is_found
    return _verify_end(name, ChainHead(hash_, number), head), is_found


def _verify_end(name: str, found: ChainHead, written: ChainHead | None) -> BrokenChain | None:
    """Compare the last entry of a chain with the head that is stored in the table of chains."""
    if written is None:
        return BrokenChain(name, found.length or 1, "its chain is not known" if found.length else "it is missing")
    if found.length < max(written.length, 1):
        return BrokenChain(name, found.length + 1, "it is missing")
    if found.length > written.length:
        return BrokenChain(name, written.length + 1, "it was added")
    if found.hash != written.hash:
        return BrokenChain(name, found.length, "its hash differs from the stored end of the chain")
    return None
