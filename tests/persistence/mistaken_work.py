"""Wrong choices of work. `make check` fails unless mypy rejects each: an unused `type: ignore` is an error."""

from collections.abc import Sequence

import sqlalchemy as sa

from persistence.database import Database
from persistence.work import batched_write, long_read, mark, short_read, short_write


@short_read
def _read(connection: sa.Connection, name: str) -> int:
    return len(connection.execute(sa.text(name)).all())


@short_write
def _write(connection: sa.Connection) -> None:
    connection.execute(sa.text("delete from systems"))


@batched_write
def _write_all(connection: sa.Connection, items: Sequence[int]) -> list[None]:
    connection.execute(sa.text("delete from systems"), [{"item": item} for item in items])
    return [None] * len(items)


@mark
def _mark(connection: sa.Connection) -> None:
    connection.execute(sa.text("update systems set name = name"))


@long_read  # type: ignore[arg-type]
def _without_connection(name: str) -> str:
    return name


def _plain(connection: sa.Connection) -> None:
    connection.execute(sa.text("select 1"))


async def choose_wrongly(database: Database) -> None:
    """Run each kind of work as another kind, or with wrong arguments."""
    await database.read(_write)  # type: ignore[arg-type]
    await database.read(_mark)  # type: ignore[arg-type]
    await database.read(_plain)  # type: ignore[arg-type]
    await database.write(_read, "select 1")  # type: ignore[arg-type]
    await database.write(_mark)  # type: ignore[arg-type]
    await database.write(_plain)  # type: ignore[arg-type]
    await database.mark(_read, "select 1")  # type: ignore[arg-type]
    await database.mark(_write)  # type: ignore[arg-type]
    await database.mark(_plain)  # type: ignore[arg-type]
    await database.read(_read)  # type: ignore[call-arg]
    await database.read(_read, 1)  # type: ignore[arg-type]
    await database.write(_write_all, [1])  # type: ignore[arg-type]
