"""Count the rows that a call writes to a database, and the statements that it sends."""

import threading
from collections import Counter
from typing import Self

import sqlalchemy as sa

from persistence.database import Database
from persistence.work import short_write

# A trigger counts each written row, for any statement.
TRIGGER = {
    "sqlite": """
        create trigger written_{table}_{verb} after {verb} on {table} begin
            insert into written values ('{table} {verb}');
        end
    """,
    "postgresql": """
        create trigger written_{table}_{verb} after {verb} on {table}
        for each row execute function note_{table}_{verb}()
    """,
}
FUNCTION = """
create function note_{table}_{verb}() returns trigger language plpgsql as $$
begin
    insert into written values ('{table} {verb}');
    return null;
end $$
"""
WATCHED = ("subscriptions", "deliveries", "events", "audit_entries", "chains", "systems", "message_types")


async def count_written_rows(database: Database) -> None:
    """Record every row that is written from now on."""

    @short_write
    def create(connection: sa.Connection) -> None:
        connection.exec_driver_sql("create table written (what text)")
        for table in WATCHED:
            for verb in ("insert", "update", "delete"):
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(FUNCTION.format(table=table, verb=verb))
                connection.exec_driver_sql(TRIGGER[connection.dialect.name].format(table=table, verb=verb))

    await database.write(create)


async def take_row_counts(database: Database) -> dict[str, int]:
    """Return the rows written since the last call, by table and verb."""

    @short_write
    def take(connection: sa.Connection) -> Counter[str]:
        found = Counter(connection.execute(sa.text("select what from written")).scalars())
        connection.exec_driver_sql("delete from written")
        return found

    return dict(await database.write(take))


class Statements:
    """Records the statements that are sent to any database while it is active.

    Those that copy the log of SQLite are left out: they run next to the work, at any time.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __enter__(self) -> Self:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._add)
        return self

    def __exit__(self, *_: object) -> None:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._add)

    def _add(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not threading.current_thread().name.startswith("sqlite-checkpoint"):
            self.texts.append(statement)
