"""Count what runs remove, until the audit has the numbers (decision 0036).

Runs remove by age, or what an operator selects. Each transaction that removes adds its number to that of its run. So
the audit has one entry per run and rule, and also contains what a killed run has removed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.audit import write_detail
from domain.errors import StorageFailed
from domain.retention import OPERATIONS, DataKind, Removal, RemovalOperation, RemovalRun, build_removal_entry
from persistence import audit
from persistence.database import Database
from persistence.tables import removal_counts
from persistence.work import short_read, short_write

ABANDONED_AFTER = timedelta(hours=1)
"""The age of a run after which another one records its numbers: its process was killed, or its database failed."""

CANCELLED_SECONDS = 2
"""Maximum seconds that a cancelled run takes to record its numbers."""


async def begin(database: Database, removal: Removal) -> None:
    """Append to the audit that a run begins, whose number is then recorded in any case, even if it is zero."""
    async with database.locks.hold(removal.run.operation.chain):
        await database.write(_begin, removal)


@contextlib.asynccontextmanager
async def recording(database: Database, run: RemovalRun) -> AsyncIterator[None]:
    """Record a run when the block ends, also with an error.

    If a cancelled run cannot be recorded at once, a later one records it.
    """
    try:
        yield
    except asyncio.CancelledError:
        # A failure of the database must not replace the cancellation.
        with contextlib.suppress(StorageFailed, TimeoutError):
            async with asyncio.timeout(CANCELLED_SECONDS):
                await record(database, run)
        raise
    except Exception:
        await record(database, run)
        raise
    await record(database, run)


async def record(database: Database, run: RemovalRun) -> None:
    """Append the numbers of a run to the audit, and those of abandoned runs: one entry for each rule."""
    for name in await database.read(_list_unrecorded, run):
        operation = OPERATIONS[name]
        async with database.locks.hold(operation.chain):
            await database.write(_record, run, operation)


def add(connection: sa.Connection, removal: Removal | None, number: int) -> int:
    """Add a number to that of a run and rule, in the transaction that removes. Return the number.

    Without `removal`, nothing is counted.
    """
    if removal is not None and number:
        _add(connection, removal, number)
    return number


_KINDS = [str(kind) for kind in DataKind]


def _add(connection: sa.Connection, removal: Removal, number: int) -> None:
    run, detail = removal.run, write_detail(removal.rule.describe())
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(removal_counts).values(
        time=run.time,
        caller=run.operator,
        request_id=run.request_id,
        operation=run.operation.name,
        detail=detail,
        removed=number,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[*removal_counts.primary_key],
            set_={"removed": removal_counts.c.removed + statement.excluded.removed},
        )
    )


def _is_unrecorded(run: RemovalRun) -> sa.ColumnElement[bool]:
    is_of_run = sa.and_(
        removal_counts.c.time == run.time,
        removal_counts.c.caller == run.operator,
        removal_counts.c.request_id == run.request_id,
    )
    return is_of_run | (removal_counts.c.time < run.time - ABANDONED_AFTER)


@short_write
def _begin(connection: sa.Connection, removal: Removal) -> None:
    run = removal.run
    head = audit.lock_chain(connection, run.operation.chain)
    audit.append(connection, run.operation.chain, head, [run.build_entry("begun", removal.rule.describe())])
    _add(connection, removal, 0)


@short_read
def _list_unrecorded(connection: sa.Connection, run: RemovalRun) -> list[str]:
    """Return the names of the operations that have numbers to record."""
    query = sa.select(removal_counts.c.operation).where(_is_unrecorded(run)).distinct()
    return list(connection.execute(query.order_by(removal_counts.c.operation)).scalars())


@short_write
def _record(connection: sa.Connection, run: RemovalRun, operation: RemovalOperation) -> None:
    # Runs that record at once wait here, so none waits for a row that the other has deleted.
    head = audit.lock_chain(connection, operation.chain)
    condition = (removal_counts.c.operation == operation.name) & _is_unrecorded(run)
    rows = connection.execute(removal_counts.delete().where(condition).returning(removal_counts))
    counts = [
        (RemovalRun(row.time, row.caller, row.request_id, operation), json.loads(row.detail), row.removed)
        for row in rows
    ]
    counts.sort(key=_find_place)
    if counts:
        audit.append(connection, operation.chain, head, [build_removal_entry(*count) for count in counts])


def _find_place(count: tuple[RemovalRun, dict[str, Any], int]) -> tuple[datetime, int]:
    """Return the place of a number in the audit: by time, and by kind of data for those of one run."""
    run, rule, _ = count
    return run.time, _KINDS.index(rule["kind"]) if "kind" in rule else 0
