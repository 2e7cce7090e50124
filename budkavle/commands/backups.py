"""`budkavle backup` and `budkavle restore`: copies of a SQLite database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import load_command_settings, print_line, run_with_database
from budkavle.commands.operators import operator_option
from budkavle.commands.progress import show_progress
from budkavle.documentation import find_docs_dir, list_documentation

if TYPE_CHECKING:
    from budkavle.settings import Settings
    from persistence.database import Database

_PAGE = "how-to/back-up-and-restore.md"
_FILE = click.Path(path_type=Path)


class _IsPostgresql(click.ClickException):
    """The command is for SQLite only."""

    exit_code = 2

    def __init__(self, tools: str) -> None:
        super().__init__(f"the database is PostgreSQL: use {tools}, as {find_docs_dir() / _PAGE} shows")


@click.command(epilog=list_documentation(_PAGE))
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def backup(file: Path, *, force: bool) -> None:
    """Write a copy of the SQLite database to FILE.

    Programs may use the database meanwhile. The copy shows one moment, and is checked. FILE appears when it is
    complete, and only its owner can read it. A database of an earlier version is copied as it is. For PostgreSQL, the
    exit code is 2.
    """
    from persistence.opening import open_database
    from persistence.sqlite.backups import write_backup

    settings = load_command_settings()
    path = _find_database_file(settings, "pg_dump or pg_basebackup")
    open_database(settings.database_url.get_secret_value()).check_exists()
    with show_progress("Copying and checking the database, pages:") as report:
        written = write_backup(path, file, may_replace=force, report=report)
    print_line(f"ok: {file} has {written.size} bytes at version {written.revision}")


@click.command(epilog=list_documentation(_PAGE))
@click.argument("file", type=_FILE)
@operator_option
def restore(file: Path, operator: str) -> None:
    """Replace the SQLite database by the backup FILE.

    Stop all programs first: the command refuses to replace a database that one of them has open, and refuses a damaged
    backup, or one of a later version than this program. The former database is kept under the name that is printed.
    The restored one is migrated, and its audit records the restore. For PostgreSQL, the exit code is 2.
    """
    from budkavle.clock import now
    from budkavle.ids import create_id
    from domain.audit import NO_SYSTEM, AuditEntry
    from persistence import audit
    from persistence.sqlite.backups import restore_backup

    settings = load_command_settings()
    path = _find_database_file(settings, "pg_restore or point-in-time recovery")
    with show_progress("Copying and checking the backup, pages:") as report:
        restored, kept = restore_backup(file, path, now(), report)
    former = "there was no former one" if kept is None else f"the former one is {kept}"
    print_line(f"ok: {path} has {restored.size} bytes at version {restored.revision}; {former}")

    async def record(database: Database) -> None:
        detail = {"version": restored.revision, "bytes": restored.size, "former": kept and kept.name}
        await audit.record(
            database, AuditEntry(NO_SYSTEM, "call", now(), "restore", operator, "restored", create_id(), detail)
        )

    with show_progress("Migrating the database"):
        run_with_database(record, settings)


def _find_database_file(settings: Settings, tools: str) -> Path:
    from persistence.opening import find_sqlite_file

    path = find_sqlite_file(settings.database_url.get_secret_value())
    if path is None:
        raise _IsPostgresql(tools)
    return path
