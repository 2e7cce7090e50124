"""Shared parts of all commands: settings, logs, a database for the duration of a command, and output."""

import contextlib
import gc
import sys
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from budkavle.settings import Settings
    from persistence.database import Database

T = TypeVar("T")


def run_with_database(
    work: "Callable[[Database], Awaitable[T]]",
    settings: "Settings | None" = None,
    *,
    migrated: bool = True,
    may_create: bool = False,
    checks_key: bool = True,
) -> T:
    """Run `work` on the configured database and return its result. Without `migrated`, skip the check of the version.

    A missing SQLite file is created only with `may_create`. Without `checks_key`, `BUDKAVLE_AUDIT_KEY` may have other
    keys than those of the audit. Raises `DatabaseUnusable` and `SettingsUnusable`.
    """
    import asyncio

    from budkavle.audit_keys import check_audit_keys, open_configured_database

    settings = settings or load_command_settings()
    url = settings.database_url.get_secret_value()

    async def run() -> T:
        database = open_configured_database(settings)
        if not may_create:
            database.check_exists()
        try:
            if migrated:
                await prepare_database(database, url)
            # Commands that only read need no key; `audit.lock_chain` refuses to append without one.
            if migrated and settings.audit_key and checks_key:
                await check_audit_keys(database, settings)
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


@contextlib.contextmanager
def import_quickly() -> "Iterator[None]":
    """Import without garbage collections: they take a tenth of the start and free almost nothing.

    Hide `rich` too: structlog and httpx import it if it is installed, which takes 60 ms and 6 MB, for traces and a
    command line that no program of ours shows.
    """
    is_hidden, had_collections = "rich" not in sys.modules, gc.isenabled()
    gc.disable()
    if is_hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # The documented way to let an import fail.
    try:
        yield
    finally:
        if had_collections:
            gc.enable()
        if is_hidden:
            del sys.modules["rich"]


async def prepare_database(database: "Database", url: str) -> None:
    """Prepare a database for use: migrate a SQLite file, and check the version of any other."""
    if url.startswith("sqlite"):
        await database.migrate()
    else:
        await database.check_version()


def load_command_settings(**overrides: object) -> "Settings":
    """Return the settings of this process, and set up logs accordingly."""
    with import_quickly():
        from budkavle.settings import read_settings
        from openapi.observation.logs import set_up_logs

    settings = read_settings(**overrides)
    set_up_logs(settings.log_format, settings.log_level)
    return settings


async def read_system_names(database: "Database") -> dict[str, str]:
    """Return the names of systems in the catalogue, by id."""
    from persistence import systems

    return {system.id: system.name for system in await systems.list_all(database)}


def print_line(text: str) -> None:
    """Write a line to standard output and flush it."""
    click.echo(text)
    sys.stdout.flush()


def write_moment(moment: datetime) -> str:
    """Return a moment in the format of commands."""
    return moment.isoformat(timespec="milliseconds")
