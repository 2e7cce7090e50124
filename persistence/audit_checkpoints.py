"""Read the checkpoint before which entries of the audit were removed (decision 0036)."""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from domain.audit import RETENTION, ChainHead
from domain.audit_checkpoints import OPERATION, SignedCheckpoint, parse_checkpoint
from persistence.database import Database
from persistence.tables import audit_entries
from persistence.work import short_read


async def find_last(database: Database) -> SignedCheckpoint | None:
    """Return the last checkpoint, or None. Raises `ValueError` if it cannot be read."""
    return await database.read(read_last_checkpoint)


_LAST = (
    sa.select(audit_entries.c.detail)
    .where(audit_entries.c.chain == RETENTION, audit_entries.c.operation == OPERATION)
    .order_by(audit_entries.c.number.desc(), audit_entries.c.id.desc())
    .limit(1)
)


@short_read
def read_last_checkpoint(connection: sa.Connection) -> SignedCheckpoint | None:
    """Do the work of `find_last`."""
    detail = connection.execute(_LAST).scalar()
    return None if detail is None else parse_checkpoint(json.loads(detail))


def read_removed_ends(connection: sa.Connection) -> Mapping[str, ChainHead]:
    """Return the last removed entry of each chain from which entries were removed. Raises `ValueError`."""
    last = read_last_checkpoint(connection)
    return {} if last is None else last.checkpoint.chains
