"""Migrate a database to the tables of this version, and check its version."""

from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from persistence.database import DatabaseUnusable
from persistence.work import large_read

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection) -> None:
    """Run missing migrations on this connection. The caller commits.

    Raises `DatabaseUnusable` for a database of a later version than this program.
    """
    found = _revision(connection)
    if found == _head():
        return
    _refuse_later(found)
    config = _config()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


@large_read
def check(connection: sa.Connection) -> None:
    """Raise `DatabaseUnusable` unless the tables are those of this version."""
    found, wanted = _revision(connection), _head()
    if found == wanted:
        return
    _refuse_later(found)
    if found is None:
        raise DatabaseUnusable("the database has no tables of this program: run 'budkavle migrate'")
    raise DatabaseUnusable(f"the database is at version {found}, this program needs {wanted}: run 'budkavle migrate'")


def _refuse_later(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseUnusable(
            f"the database is at version {found}, which is later than {_head()} of this program: upgrade the program"
        )


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
