"""Writes and reads the audit. Entries are only ever added."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain import audit as domain
from domain.audit import AuditEntry, ChainedEntry
from persistence.database import Database
from persistence.tables import audit_entries as entries_table
from persistence.tables import chains as chains_table

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain."""

    hash: str
    length: int


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain is broken: the number of the first entry that does not fit, and why."""

    chain: str
    number: int
    reason: str


async def record(database: Database, entry: AuditEntry) -> None:
    """Adds one entry, in a transaction of its own: for calls that changed nothing."""
    await database.write(_record, entry)


def lock_chain(connection: sa.Connection, name: str) -> Head:
    """Locks a chain until the transaction ends, so that its entries are one after the other. Makes it if need be."""
    select = sa.select(chains_table.c.head, chains_table.c.length).where(chains_table.c.name == name).with_for_update()
    row = connection.execute(select).first()
    if row is None:
        connection.execute(_insert_chain(connection), {"name": name, "head": domain.FIRST_HASH, "length": 0})
        row = connection.execute(select).one()
    return Head(row.head, row.length)


def append(connection: sa.Connection, name: str, head: Head, entries: list[AuditEntry]) -> None:
    """Adds entries to a chain that is locked and ends so."""
    chained = domain.chain(entries, head.hash, head.length)
    connection.execute(entries_table.insert(), [_to_row(item) for item in chained])
    connection.execute(
        chains_table.update()
        .where(chains_table.c.name == name)
        .values(head=chained[-1].hash, length=chained[-1].number)
    )


async def list_page(
    database: Database, *, after: int, limit: int, chain: str | None = None, since: datetime | None = None
) -> list[tuple[int, ChainedEntry]]:
    """At most `limit` entries after the one with this id, oldest first, each with its id."""
    return await database.read_large(_list_page, after, limit, chain, since)


async def verify(database: Database, kept: str | None = None) -> tuple[dict[str, Head], Broken | None]:
    """The ends of all chains, and the first entry that was changed, removed or moved, if any was.

    `kept` is a hash that was the end of a chain once: it must still be the hash of an entry. If it is not, nobody can
    say of which, and `Broken` names chain `""`.
    """
    return await database.read_large(_verify, kept)


def _record(connection: sa.Connection, entry: AuditEntry) -> None:
    append(connection, entry.chain, lock_chain(connection, entry.chain), [entry])


def _insert_chain(connection: sa.Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(chains_table).on_conflict_do_nothing()


def _to_row(item: ChainedEntry) -> dict[str, Any]:
    entry = item.entry
    return {
        "chain": entry.chain,
        "number": item.number,
        "kind": entry.kind,
        "time": entry.time,
        "operation": entry.operation,
        "caller": entry.caller,
        "outcome": entry.outcome,
        "request_id": entry.request_id,
        "detail": entry.detail,
        "hash": item.hash,
    }


def _from_row(row: sa.RowMapping) -> ChainedEntry:
    entry = AuditEntry(
        chain=row["chain"],
        kind=row["kind"],
        time=row["time"],
        operation=row["operation"],
        caller=row["caller"],
        outcome=row["outcome"],
        request_id=row["request_id"],
        detail=row["detail"],
    )
    return ChainedEntry(entry, row["number"], row["hash"])


def _list_page(
    connection: sa.Connection, after: int, limit: int, chain: str | None, since: datetime | None
) -> list[tuple[int, ChainedEntry]]:
    table = entries_table
    select = table.select().where(table.c.id > after).order_by(table.c.id).limit(limit)
    if chain is not None:
        select = select.where(table.c.chain == chain)
    if since is not None:
        select = select.where(table.c.time >= since)
    return [(row["id"], _from_row(row)) for row in connection.execute(select).mappings()]


def _verify(connection: sa.Connection, kept: str | None) -> tuple[dict[str, Head], Broken | None]:
    heads = {row.name: Head(row.head, row.length) for row in connection.execute(chains_table.select())}
    names = set(heads) | set(connection.execute(sa.select(entries_table.c.chain).distinct()).scalars())
    for name in sorted(names):
        broken = _verify_chain(connection, name, heads.get(name, Head(domain.FIRST_HASH, 0)))
        if broken is not None:
            return heads, broken
    # All hashes are now known to be what they must be.
    found = sa.select(entries_table.c.id).where(entries_table.c.hash == kept).limit(1)
    if kept is not None and connection.execute(found).first() is None:
        return heads, Broken("", 0, f"no entry has the hash {kept}")
    return heads, None


def _verify_chain(connection: sa.Connection, name: str, head: Head) -> Broken | None:
    hash_, number = domain.FIRST_HASH, 0
    for item in _entries_of(connection, name):
        number += 1
        if item.number != number:
            return Broken(name, number, "it is missing")
        hash_ = domain.hash_entry(item.entry, number, hash_)
        if item.hash != hash_:
            return Broken(name, number, "it was changed")
    if number < head.length:
        return Broken(name, number + 1, "it is missing")
    if hash_ != head.hash or number != head.length:
        return Broken(name, number, "it is not the end that was written")
    return None


def _entries_of(connection: sa.Connection, name: str) -> Iterator[ChainedEntry]:
    """All entries of a chain in order, a page at a time."""
    table = entries_table
    after = 0
    while True:
        select = table.select().where(table.c.chain == name, table.c.number > after).order_by(table.c.number)
        page = [_from_row(row) for row in connection.execute(select.limit(PAGE)).mappings()]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].number
