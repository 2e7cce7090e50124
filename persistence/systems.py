"""Read the names and addresses of systems, for operators."""

from dataclasses import dataclass

import sqlalchemy as sa

from persistence.database import Database
from persistence.tables import systems
from persistence.work import large_read, short_read


@dataclass(frozen=True, slots=True)
class SystemSummary:
    """A system of the catalogue, without its secrets."""

    id: str
    name: str
    base_url: str


async def list_all(database: Database) -> list[SystemSummary]:
    """Return all systems by name and id."""
    return await database.read(_list_all)


async def find(database: Database, system_id: str) -> SystemSummary | None:
    """Return a system, or None if the catalogue has none with this id."""
    return await database.read(_find, system_id)


_SELECT = sa.select(systems.c.id, systems.c.name, systems.c.base_url)


@large_read
def _list_all(connection: sa.Connection) -> list[SystemSummary]:
    rows = connection.execute(_SELECT.order_by(systems.c.name, systems.c.id))
    return [SystemSummary(row.id, row.name, row.base_url) for row in rows]


@short_read
def _find(connection: sa.Connection, system_id: str) -> SystemSummary | None:
    row = connection.execute(_SELECT.where(systems.c.id == system_id)).first()
    return None if row is None else SystemSummary(row.id, row.name, row.base_url)
