"""Run hot queries on the driver's cursor, compiled once from SQLAlchemy (decision 0004).

For each execution SQLAlchemy looks up the compiled statement and creates objects for its context and its result, which
takes several times as long as the statement itself. A `PreparedQuery` keeps the compiled text and the conversions of
its types. The connection, its pool, its transaction and the handling of its errors stay those of SQLAlchemy; so do the
prepared statements of asyncpg, which are unnamed behind a connection pooler in transaction mode.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

Convert = Callable[[Any], Any] | None
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The text of a query for one database, its parameters in order, and the conversions of both directions."""

    text: str
    parameters: tuple[tuple[str, Convert], ...]
    columns: tuple[Convert, ...]

    def bind(self, values: dict[str, Any]) -> list[Any]:
        """Return the parameters for the driver."""
        return [values[name] if convert is None else convert(values[name]) for name, convert in self.parameters]

    def convert(self, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Return the rows of the driver as values of Python."""
        columns = self.columns
        return [
            tuple(value if convert is None else convert(value) for value, convert in zip(row, columns, strict=True))
            for row in rows
        ]


class PreparedQuery:
    """A query for SQLite and PostgreSQL. Its parameters are named bind parameters."""

    def __init__(self, query: sa.Select[Any]) -> None:
        self._query = query
        self._by_dialect: dict[str, _Compiled] = {}

    def fetch(self, connection: sa.Connection, **values: Any) -> list[Row]:
        """Return all rows, with the values of the columns in the order of the query."""
        dialect = connection.dialect
        compiled = self._by_dialect.get(dialect.name)
        if compiled is None:
            compiled = self._by_dialect[dialect.name] = _compile(self._query, dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(compiled.text, compiled.bind(values))
            rows = cursor.fetchall()
        except Exception as exc:  # noqa: BLE001  # SQLAlchemy raises it again.
            # It finds out whether the connection is lost, and calls our pool.
            connection._handle_dbapi_exception(exc, None, None, cursor, None)  # noqa: SLF001  # As `Connection.execute` does.
        cursor.close()
        return compiled.convert(rows)


def _compile(query: sa.Select[Any], dialect: sa.Dialect) -> _Compiled:
    compiled = query.compile(dialect=dialect)
    names = compiled.positiontup or ()
    return _Compiled(
        str(compiled),
        tuple((name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names),
        tuple(column.type.dialect_impl(dialect).result_processor(dialect, None) for column in query.selected_columns),
    )
