"""A row in every table, for tests of migrations."""

from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from persistence.tables import UtcDateTime, metadata
from tests.factories import NOW

ID = UUID(int=1)
VALUES: dict[type | tuple[type, ...], Any] = {
    sa.Uuid: str(ID),
    sa.Text: "text",
    sa.Integer: 1,
    sa.Boolean: True,
    (sa.DateTime, UtcDateTime): NOW,
    sa.Date: date(2026, 3, 1),
    sa.LargeBinary: b"bytes",
    sa.JSON: [],
}
"""A value of each type. All ids are equal, so that each row refers to the rows of other tables."""

OTHERS: dict[str, dict[str, Any]] = {
    "web_messages": {"state": "published"},
    "publication_traces": {"open_e_message_id": None},
    "deliveries": {"state": "waiting"},
    "receipts": {"hash": "0" * 64},
    "read_keys": {"destroyed": None},
}
"""Values that constraints require."""


def fill_tables(connection: sa.Connection) -> None:
    """Insert one row into every table, with a value in every column where the constraints permit it."""
    for table in metadata.sorted_tables:
        row = {column.name: _choose_value(column) for column in table.columns}
        connection.execute(table.insert(), row | OTHERS.get(table.name, {}))


def _choose_value(column: sa.Column[Any]) -> Any:
    return next(value for kind, value in VALUES.items() if isinstance(column.type, kind))
