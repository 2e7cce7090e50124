"""Number receipts in the order in which they are stored, so that they can be sealed.

Processes of the old version go on: the database gives their receipts numbers too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_OLD = "unnumbered_receipts"
_COLUMNS = """
    id, event_id, system_id, org_type, org_code, entity_type, webhook_url, accepted, first_attempt, last_attempt,
    attempts, status, milliseconds, hash, failures
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_receipts", "receipts")
        op.execute("alter table receipts add column number bigserial constraint pk_receipts primary key")
        op.create_unique_constraint("uq_receipts_id", "receipts", ["id"])
        return
    _drop_indexes()
    op.rename_table("receipts", _OLD)
    _create_table(sa.Column("number", _BIG_ID, nullable=False), sa.PrimaryKeyConstraint("number", name="pk_receipts"))
    _copy("order by last_attempt, id")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("uq_receipts_id", "receipts")
        op.drop_column("receipts", "number")
        op.create_primary_key("pk_receipts", "receipts", ["id"])
        return
    _drop_indexes()
    op.rename_table("receipts", _OLD)
    _create_table()
    _copy("")


def _drop_indexes() -> None:
    for name in ("ix_receipts_system_id_last_attempt_id", "ix_receipts_last_attempt_id", "ix_receipts_event_id"):
        op.drop_index(name, "receipts")


def _create_table(*number: sa.Column[int] | sa.Constraint) -> None:
    key: dict[str, bool] = {"sqlite_autoincrement": True} if number else {"sqlite_with_rowid": False}
    op.create_table(
        "receipts",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("system_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("org_type", sa.Integer, nullable=False),
        sa.Column("org_code", sa.Integer, nullable=False),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.Column("webhook_url", sa.Text, nullable=False),
        sa.Column("accepted", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_attempt", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_attempt", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        # The failed attempts before the last one, without the responses.
        sa.Column("failures", sa.JSON),
        *(number or (sa.PrimaryKeyConstraint("id", name="pk_receipts"),)),
        *((sa.UniqueConstraint("id", name="uq_receipts_id"),) if number else ()),
        sa.CheckConstraint("length(hash) = 64", name="ck_receipts_hash"),
        **key,
    )


def _copy(order: str) -> None:
    # One statement, so that no row passes through the memory of this process.
    op.execute(f"insert into receipts ({_COLUMNS}) select {_COLUMNS} from {_OLD} {order}")  # noqa: S608  # Made of the texts here alone.
    op.drop_table(_OLD)
    op.create_index("ix_receipts_system_id_last_attempt_id", "receipts", ["system_id", "last_attempt", "id"])
    op.create_index("ix_receipts_last_attempt_id", "receipts", ["last_attempt", "id"])
    op.create_index("ix_receipts_event_id", "receipts", ["event_id"])
