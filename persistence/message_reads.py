"""Record counted reads of web messages in the audit, and keep the keys that relate the records to a subject.

The audit names a subject by a hash with a key of its own. Without the key, the hash cannot be related to the subject.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.audit import READS, AuditEntry
from domain.message_reads import (
    ReadCounts,
    RecordedReads,
    Subject,
    build_party_subject,
    hash_subject,
    sign_subject,
)
from persistence import audit
from persistence.database import Database
from persistence.tables import audit_entries, read_keys
from persistence.work import bulk_write, long_read, short_write

KIND = "reads"
"""The kind of the entries in the audit."""

DESTROYED_FOR = timedelta(days=2)
"""How long the destruction of a key is remembered: longer than processes keep counts in memory."""


async def record(database: Database, counts: ReadCounts, now: datetime, create_key: Callable[[], bytes]) -> None:
    """Append an entry with the reads of one caller to the audit.

    `create_key` returns a new key for a subject that has none. Reads from before the key of their subject was destroyed
    are recorded without the subject.
    """
    async with database.locks.hold(READS):
        await database.write(_record, counts, now, create_key)


async def destroy_key(database: Database, party_id: str, now: datetime) -> None:
    """Destroy the key of a party: its recorded reads can no longer be related to it."""
    await database.write(destroy_stored_key, party_id, now)


async def forget_destroyed(database: Database, now: datetime) -> None:
    """Remove what remains of keys that were destroyed `DESTROYED_FOR` ago."""
    await database.write(_forget_destroyed, now)


async def list_recorded(
    database: Database, subject: Subject, since: datetime | None = None, until: datetime | None = None
) -> list[RecordedReads]:
    """Return the recorded reads of a subject, oldest first: those that may have been between `since` and `until`."""
    return await database.read(_list_recorded, subject, since, until)


@bulk_write
def _record(connection: sa.Connection, counts: ReadCounts, now: datetime, create_key: Callable[[], bytes]) -> None:
    head = audit.lock_chain(connection, READS)
    connection.execute(_FORGET, {"before": now - DESTROYED_FOR})
    keys = _find_keys(connection, {subject for _, subject in counts.numbers}, counts.first, create_key)
    audit.append(connection, READS, head, [_build_entry(counts, keys, now)])


def _find_keys(
    connection: sa.Connection, subjects: set[Subject], first: datetime, create_key: Callable[[], bytes]
) -> dict[Subject, bytes]:
    """Return the keys of subjects, which are created if necessary. Omit subjects whose key was destroyed since."""
    hashes = {hash_subject(subject): subject for subject in subjects}
    stored = _select_keys(connection, hashes)
    missing = [hash_ for hash_ in sorted(hashes) if hash_ not in stored or _may_be_replaced(stored[hash_], first)]
    if missing:
        connection.execute(
            _build_upsert(connection),
            [{"subject_hash": hash_, "new_key": create_key(), "first_read": first} for hash_ in missing],
        )
        stored = _select_keys(connection, hashes)
    return {hashes[hash_]: row.key for hash_, row in stored.items() if row.key is not None}


def _select_keys(connection: sa.Connection, hashes: Iterable[bytes]) -> dict[bytes, sa.Row[Any]]:
    return {row.subject: row for row in connection.execute(_SELECT, {"subjects": list(hashes)})}


def _may_be_replaced(row: sa.Row[Any], first: datetime) -> bool:
    """Return whether a key was destroyed before the first of the reads."""
    return row.destroyed is not None and row.destroyed <= first


def _build_upsert(connection: sa.Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(read_keys).values(subject=sa.bindparam("subject_hash"), key=sa.bindparam("new_key"))
    return statement.on_conflict_do_update(
        index_elements=[read_keys.c.subject],
        set_={"key": statement.excluded.key, "destroyed": None},
        # Another transaction may have destroyed it meanwhile.
        where=read_keys.c.destroyed <= sa.bindparam("first_read"),
    )


def _build_entry(counts: ReadCounts, keys: Mapping[Subject, bytes], now: datetime) -> AuditEntry:
    reads: dict[str, dict[str, int]] = {}
    erased: dict[str, int] = {}
    for (operation, subject), number in counts.numbers.items():
        if subject in keys:
            reads.setdefault(operation, {})[sign_subject(subject, keys[subject])] = number
        else:
            erased[operation] = erased.get(operation, 0) + number
    operations = {operation for operation, _ in counts.numbers}
    detail: dict[str, Any] = {"first": counts.first.isoformat(), "reads": reads}
    return AuditEntry(
        chain=READS,
        kind=KIND,
        time=now,
        operation=operations.pop() if len(operations) == 1 else "*",
        caller=counts.caller,
        outcome="answered",
        request_id="-",
        detail=detail | ({"erased": erased} if erased else {}),
    )


_FORGET = read_keys.delete().where(read_keys.c.destroyed < sa.bindparam("before"))
_SELECT = sa.select(read_keys).where(read_keys.c.subject.in_(sa.bindparam("subjects", expanding=True)))


@short_write
def _forget_destroyed(connection: sa.Connection, now: datetime) -> None:
    connection.execute(_FORGET, {"before": now - DESTROYED_FOR})


@short_write
def destroy_stored_key(connection: sa.Connection, party_id: str, now: datetime) -> None:
    """Do the work of `destroy_key`, within the transaction that erases a person.

    A row without a key remains for a time, so that reads that processes have counted before get no new key.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(read_keys).values(subject=hash_subject(build_party_subject(party_id)), key=None, destroyed=now)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[read_keys.c.subject], set_={"key": None, "destroyed": statement.excluded.destroyed}
        )
    )


@long_read
def _list_recorded(
    connection: sa.Connection, subject: Subject, since: datetime | None, until: datetime | None
) -> list[RecordedReads]:
    key = connection.execute(_SELECT, {"subjects": [hash_subject(subject)]}).first()
    if key is None or key.key is None:
        return []
    hash_ = sign_subject(subject, key.key)
    select = (
        sa.select(audit_entries.c.caller, audit_entries.c.time, audit_entries.c.detail)
        .where(audit_entries.c.chain == READS, audit_entries.c.detail.contains(hash_))
        .order_by(audit_entries.c.number)
        .execution_options(yield_per=20)
    )
    if since is not None:
        select = select.where(audit_entries.c.time >= since)
    found = (each for row in connection.execute(select) for each in _list_reads(row, hash_))
    return [each for each in found if until is None or each.first < until]


def _list_reads(row: Any, hash_: str) -> Iterator[RecordedReads]:
    detail = json.loads(row.detail)
    first = datetime.fromisoformat(detail["first"])
    for operation, numbers in sorted(detail["reads"].items()):
        if hash_ in numbers:
            yield RecordedReads(row.caller, operation, first, row.time, numbers[hash_])
