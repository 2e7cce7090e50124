"""An insider with full access to the database, who rewrites the audit and computes all hashes again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import sqlalchemy as sa

from domain.audit import FIRST_HASH, AuditEntry, hash_entry
from persistence.database import Database
from persistence.tables import audit_entries, chains
from persistence.work import bulk_write
from tests.databases import run_with_database


@dataclass(frozen=True)
class Row:
    """An entry without its number and hash, which follow from its place. The insider has no key for signatures."""

    entry: AuditEntry
    detail: str
    signature: str | None = None

    def change(self, **changes: Any) -> "Row":
        return replace(self, entry=replace(self.entry, **changes))

    def delay(self, hours: int) -> "Row":
        return self.change(time=self.entry.time + timedelta(hours=hours))


def rewrite_audit(
    url: str, change: Callable[[list[Row]], list[Row]], starts: Mapping[str, tuple[int, str]] | None = None
) -> None:
    """Replace all entries by what `change` makes of them, with valid ids, numbers, hashes and ends of chains.

    `starts` has the numbers and hashes of the entries before the first ones of chains that were pruned.
    """

    def rewrite(connection: sa.Connection) -> None:
        found = connection.execute(audit_entries.select().order_by(audit_entries.c.id)).mappings()
        rows = [
            Row(
                AuditEntry(**{name: row[name] for name in AuditEntry.__slots__ if name != "detail"}),
                row["detail"],
                row["signature"],
            )
            for row in found
        ]
        connection.execute(audit_entries.delete())
        connection.execute(chains.delete())
        heads: dict[str, tuple[int, str]] = dict(starts or {})
        for id_, row in zip(count(1), change(rows), strict=False):
            entry = row.entry
            number, previous = heads.get(entry.chain, (0, FIRST_HASH))
            hash_ = hash_entry(entry, row.detail, number + 1, previous)
            heads[entry.chain] = number + 1, hash_
            values = {name: getattr(entry, name) for name in AuditEntry.__slots__}
            values |= {"id": id_, "number": number + 1, "hash": hash_, "detail": row.detail}
            values["signature"] = row.signature
            connection.execute(audit_entries.insert(), values)
        ends = [{"name": name, "length": length, "head": hash_} for name, (length, hash_) in heads.items()]
        if ends:
            connection.execute(chains.insert(), ends)

    def run(database: Database) -> Any:
        return database.write(bulk_write(rewrite))

    run_with_database(url, run)
