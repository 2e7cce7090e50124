"""Migrate a database to the tables of this version, and check its version.

Import Alembic only to run missing migrations: the import takes a tenth of a program's start.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from persistence.database import DatabaseUnusable
from persistence.work import large_read

if TYPE_CHECKING:
    import alembic.config

log = structlog.get_logger("budkavle.database")

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection, *, steps: int | None = None) -> bool:
    """Run missing migrations on this connection, at most `steps`. Return whether there were any. The caller commits.

    Raises `DatabaseUnusable` for a database of a later version that does not support this program.
    """
    found = read_revision(connection)
    if found == _find_latest():
        return False
    if _is_later(found):
        _check_supported(connection, found)
        return False
    import alembic.command

    alembic.command.upgrade(_configure(connection), "head" if steps is None else f"+{steps}")
    return True


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Undo the migrations after a revision. The caller commits.

    Raises `DatabaseUnusable` if there is no such revision, or if the database is not at a later one.
    """
    found = read_revision(connection)
    refuse_later(found)
    if revision not in _list_versions():
        raise DatabaseUnusable(f"there is no version {revision}")
    if found is None or found <= revision:
        raise DatabaseUnusable(f"the database is at version {found}, which is not later than {revision}")
    import alembic.command

    alembic.command.downgrade(_configure(connection), revision)


def _configure(connection: sa.Connection) -> "alembic.config.Config":
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@large_read
def check(connection: sa.Connection) -> None:
    """Raise `DatabaseUnusable` unless the tables are those of this version, or of a later one that supports it."""
    found, wanted = read_revision(connection), _find_latest()
    if found == wanted:
        return
    if found is None:
        raise DatabaseUnusable("the database has no tables of this program: run 'budkavle migrate'")
    if not _is_later(found):
        raise DatabaseUnusable(
            f"the database is at version {found}, this program needs {wanted}: run 'budkavle migrate'"
        )
    _check_supported(connection, found)


def refuse_later(found: str | None) -> None:
    """Raise `DatabaseUnusable` for a version that is later than this program."""
    if _is_later(found):
        raise DatabaseUnusable(
            f"the database is at version {found}, which is later than {_find_latest()} of this program: "
            "upgrade the program"
        )


def _is_later(found: str | None) -> bool:
    return found is not None and found not in _list_versions()


def _check_supported(connection: sa.Connection, found: str | None) -> None:
    """Raise `DatabaseUnusable` unless a database of a later version supports programs of this version."""
    columns = {column["name"] for column in sa.inspect(connection).get_columns("alembic_version")}
    oldest = connection.scalar(sa.text("select oldest from alembic_version")) if "oldest" in columns else None
    if oldest is None or oldest > _find_latest():
        refuse_later(found)
    log.warning("database_is_later", version=found, version_of_program=_find_latest())


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
