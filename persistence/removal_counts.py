"""Count what runs remove because of its age, until the audit has the numbers (decision 0036).

Each transaction that removes adds its number to that of its run. So the audit has one entry per run and rule, and also
contains what a killed run has removed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.audit import RETENTION, write_detail
from domain.errors import StorageFailed
from domain.retention import DataKind, Removal, RemovalRun, build_purge_entry
from persistence import audit
from persistence.database import Database
from persistence.tables import removal_counts
from persistence.work import short_read, short_write

ABANDONED_AFTER = timedelta(hours=1)
"""The age of a run after which another one records its numbers: its process was killed, or its database failed."""

CANCELLED_SECONDS = 2
"""Maximum seconds that a cancelled run takes to record its numbers."""


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
    if await database.read(_has_unrecorded, run):
        async with database.locks.hold(RETENTION):
            await database.write(_record, run)


def add(connection: sa.Connection, removal: Removal | None, number: int) -> int:
    """Add a number to that of a run and rule, in the transaction that removes. Return the number.

    Without `removal`, nothing is counted.
    """
    if removal is not None and number:
        run, detail = removal.run, write_detail(removal.rule.describe())
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(removal_counts).values(
            time=run.time, caller=run.operator, request_id=run.request_id, detail=detail, removed=number
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[*removal_counts.primary_key],
                set_={"removed": removal_counts.c.removed + statement.excluded.removed},
            )
        )
    return number


_KINDS = [str(kind) for kind in DataKind]


def _is_unrecorded(run: RemovalRun) -> sa.ColumnElement[bool]:
    is_of_run = sa.and_(
        removal_counts.c.time == run.time,
        removal_counts.c.caller == run.operator,
        removal_counts.c.request_id == run.request_id,
    )
    return is_of_run | (removal_counts.c.time < run.time - ABANDONED_AFTER)


@short_read
def _has_unrecorded(connection: sa.Connection, run: RemovalRun) -> bool:
    return bool(connection.execute(sa.select(sa.exists().where(_is_unrecorded(run)))).scalar())


@short_write
def _record(connection: sa.Connection, run: RemovalRun) -> None:
    # Runs that record at once wait here, so none waits for a row that the other has deleted.
    head = audit.lock_chain(connection, RETENTION)
    rows = connection.execute(removal_counts.delete().where(_is_unrecorded(run)).returning(removal_counts))
    counts = [(RemovalRun(row.time, row.caller, row.request_id), json.loads(row.detail), row.removed) for row in rows]
    counts.sort(key=lambda count: (count[0].time, _KINDS.index(count[1]["kind"])))
    if counts:
        audit.append(connection, RETENTION, head, [build_purge_entry(*count) for count in counts])
