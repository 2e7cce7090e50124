"""Migrate a database to the tables of this version, and check its version.

Import Alembic only to run missing migrations: the import takes a tenth of a program's start.
"""

from pathlib import Path

import sqlalchemy as sa

from persistence.database import DatabaseUnusable
from persistence.work import large_read

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection) -> None:
    """Run missing migrations on this connection. The caller commits.

    Raises `DatabaseUnusable` for a database of a later version than this program.
    """
    found = read_revision(connection)
    if found == _find_latest():
        return
    refuse_later(found)
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


@large_read
def check(connection: sa.Connection) -> None:
    """Raise `DatabaseUnusable` unless the tables are those of this version."""
    found, wanted = read_revision(connection), _find_latest()
    if found == wanted:
        return
    refuse_later(found)
    if found is None:
        raise DatabaseUnusable("the database has no tables of this program: run 'budkavle migrate'")
    raise DatabaseUnusable(f"the database is at version {found}, this program needs {wanted}: run 'budkavle migrate'")


def refuse_later(found: str | None) -> None:
    """Raise `DatabaseUnusable` for a version that is later than this program."""
    if found is not None and found not in _list_versions():
        raise DatabaseUnusable(
            f"the database is at version {found}, which is later than {_find_latest()} of this program: "
            "upgrade the program"
        )


def read_revision(connection: sa.Connection) -> str | None:
    """Return the version that Alembic stored, or None for a database without tables of this program."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("select version_num from alembic_version"))
    return found


def _find_latest() -> str:
    return max(_list_versions())


def _list_versions() -> set[str]:
    """Return the versions of the migrations, with which the names of their files begin."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
