"""Run hot statements on the driver's cursor, compiled once from SQLAlchemy (decision 0004).

For each execution SQLAlchemy looks up the compiled statement and creates objects for its context and its result, which
takes several times as long as the statement itself. A `PreparedStatement` keeps the compiled text and the conversions
of its types. The connection, its pool, its transaction and the handling of its errors stay those of SQLAlchemy; so do
the prepared statements of asyncpg, which are unnamed behind a connection pooler in transaction mode.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

Statement = sa.Select[Any] | sa.TextualSelect | sa.Insert | sa.Update | sa.Delete | sa.TextClause
Convert = Callable[[Any], Any]
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The text of a statement for one database, its parameters in order, and the conversions of both directions."""

    text: str
    pick: Callable[[dict[str, Any]], Row]
    """Returns the parameters in their order from the values by name."""
    converted: tuple[tuple[str, Convert], ...]
    """The parameters that are converted. One that occurs several times in the text is converted once."""
    columns: tuple[tuple[int, Convert], ...]
    """The places of the columns that are converted."""
    constants: dict[str, Any]
    """The values that the statement itself contains."""

    def bind(self, values: dict[str, Any]) -> Row:
        """Return the parameters for the driver."""
        # A copy: `execute_many` receives the rows of its caller.
        values = self.constants | values
        for name, convert in self.converted:
            values[name] = convert(values[name])
        return self.pick(values)

    def convert(self, row: Row) -> Row:
        """Return a row of the driver as values of Python."""
        values = list(row)
        for place, convert in self.columns:
            values[place] = convert(values[place])
        return values


class PreparedStatement:
    """A statement for SQLite and PostgreSQL. Its parameters are named bind parameters with types.

    The values that another statement than a `Select` or `TextualSelect` returns are those of the driver.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._by_dialect: dict[str, _Compiled] = {}

    def execute(self, connection: sa.Connection, **values: Any) -> list[Row]:
        """Return all rows, with the values of the columns in the order of the statement."""
        compiled = self._compile(connection.dialect)
        cursor = connection.connection.cursor()
        # The context `_Cursor` would take as long as sending the parameters.
        try:
            parameters = compiled.bind(values)
            _announce(connection, cursor, compiled.text, parameters)
            cursor.execute(compiled.text, parameters)
            rows = cursor.fetchall() if cursor.description else ()
        except Exception as exc:
            _handle_error(connection, cursor, exc)
            raise
        finally:
            cursor.close()
        return [compiled.convert(row) for row in rows] if compiled.columns else list(rows)

    def iterate(self, connection: sa.Connection, **values: Any) -> Iterator[Row]:
        """Yield the rows. SQLite reads each row when it is requested; PostgreSQL sends all of them at once."""
        compiled = self._compile(connection.dialect)
        with _Cursor(connection) as cursor:
            cursor.execute(compiled.text, compiled.bind(values))
            yield from map(compiled.convert, cursor)

    def execute_many(self, connection: sa.Connection, rows: Iterable[dict[str, Any]]) -> int:
        """Execute the statement for the values of each row. Return the number of changed rows, on SQLite only."""
        compiled = self._compile(connection.dialect)
        with _Cursor(connection) as cursor:
            cursor.executemany(compiled.text, [compiled.bind(row) for row in rows])
            return int(cursor.rowcount)

    def _compile(self, dialect: sa.Dialect) -> _Compiled:
        compiled = self._by_dialect.get(dialect.name)
        if compiled is None:
            compiled = self._by_dialect[dialect.name] = _compile(self.statement, dialect)
        return compiled


def _announce(connection: sa.Connection, cursor: Any, text: str, parameters: Row) -> None:
    """Call the listeners of the engine before a statement, as `Connection.execute` does."""
    if connection.engine._has_events:  # noqa: SLF001  # There is no public method.
        is_many = False
        connection.dispatch.before_cursor_execute(connection, cursor, text, parameters, None, is_many)


class _Cursor:
    """A cursor of the driver, as a context. Errors are handled as those of `Connection.execute`."""

    __slots__ = ("_connection", "_cursor")

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        self._cursor = self._connection.connection.cursor()
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            _handle_error(self._connection, self._cursor, error)
        self._cursor.close()


def _handle_error(connection: sa.Connection, cursor: Any, error: Exception) -> None:
    """Let SQLAlchemy find out whether the connection is lost. It calls our pool and raises its own error."""
    connection._handle_dbapi_exception(error, None, None, cursor, None)  # noqa: SLF001  # There is no public method.


def _compile(statement: Statement, dialect: sa.Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    names = tuple(compiled.positiontup or ())
    bound = {name: compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
    columns = statement.selected_columns if isinstance(statement, sa.Select | sa.TextualSelect) else ()
    converted = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return _Compiled(
        str(compiled),
        _build_pick(names),
        tuple((name, convert) for name, convert in bound.items() if convert is not None),
        tuple((place, convert) for place, convert in enumerate(converted) if convert is not None),
        {name: compiled.params[name] for name in names if not compiled.binds[name].required},
    )


def _build_pick(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Row]:
    """Return a function that returns the values of these names, in their order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]
