"""Read what seals of the audit cover: the ends of all chains, the sealed entries, and the record of earlier seals."""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from domain.audit import SEALS, BrokenChain, ChainHead
from domain.seals import RecordedSeal
from persistence.audit_checkpoints import read_removed_ends
from persistence.database import Database
from persistence.tables import audit_entries, chains
from persistence.work import long_read, short_read


async def read_heads(database: Database) -> dict[str, ChainHead]:
    """Return the ends of all chains at one moment."""
    return await database.read(read_chain_heads)


async def list_recorded(database: Database) -> list[RecordedSeal]:
    """Return the seals that the audit has recorded, oldest first."""
    return await database.read(_list_recorded)


async def find_broken_seal(database: Database, sealed: Mapping[tuple[str, int], str]) -> BrokenChain | None:
    """Return the first of the sealed entries that is missing or has another hash, or None.

    `sealed` has hashes by chain and number. Other hashes are not computed (`audit.verify` does).
    """
    return await database.read(find_unlike_sealed, sealed)


_SELECT = sa.select(audit_entries.c.chain, audit_entries.c.number, audit_entries.c.hash)
_RECORDED = (
    sa.select(audit_entries.c.detail)
    .where(audit_entries.c.chain == SEALS)
    .order_by(audit_entries.c.number, audit_entries.c.id)
)
FEW = 1000
"""Sealed entries that are looked up one by one. More are compared while all entries are read."""


@short_read
def read_chain_heads(connection: sa.Connection) -> dict[str, ChainHead]:
    """Do the work of `read_heads`."""
    return {row.name: ChainHead(row.head, row.length) for row in connection.execute(chains.select())}


@long_read
def _list_recorded(connection: sa.Connection) -> list[RecordedSeal]:
    details = [json.loads(detail) for detail in connection.execute(_RECORDED).scalars()]
    return [RecordedSeal(detail["number"], detail["hash"]) for detail in details]


@long_read
def find_unlike_sealed(connection: sa.Connection, sealed: Mapping[tuple[str, int], str]) -> BrokenChain | None:
    """Do the work of `find_broken_seal`. Entries that were removed up to a checkpoint are not missing."""
    ends = read_removed_ends(connection)
    for name, end in ends.items():
        if sealed.get((name, end.length), end.hash) != end.hash:
            return BrokenChain(name, end.length, "its hash in the checkpoint is not the sealed one")
    sealed = {
        (name, number): hash_
        for (name, number), hash_ in sealed.items()
        if name not in ends or number > ends[name].length
    }
    missing = dict(sealed)
    if len(sealed) <= FEW:
        table = audit_entries.c
        selects = [_SELECT.where(table.chain == name, table.number == number) for name, number in sealed]
    else:
        selects = [_SELECT.execution_options(yield_per=1000)]
    for select in selects:
        for name, number, hash_ in connection.execute(select):
            expected = missing.pop((name, number), hash_)
            if expected != hash_:
                return BrokenChain(name, number, "its hash is not the sealed one")
    for name, number in sorted(missing):
        return BrokenChain(name, number, "it was sealed and is missing")
    return None
