"""What all commands share: settings, logs, a database for the time of a command, and lines for who waits."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from budkavle.settings import Settings
    from persistence.database import Database

T = TypeVar("T")


def with_database(
    work: "Callable[[Database], Awaitable[T]]",
    settings: "Settings | None" = None,
    *,
    migrated: bool = True,
    may_create: bool = False,
) -> T:
    """Return what `work` returns on the database of the settings; without `migrated` as it is found.

    Only with `may_create` is a SQLite file created that is not there. Raises `DatabaseUnusable`.
    """
    import asyncio

    from persistence.opening import open_database

    settings = settings or command_settings()
    url, waits = settings.database_url.get_secret_value(), settings.waits()

    async def run() -> T:
        database = open_database(url, waits)
        if not may_create:
            database.check_exists()
        try:
            if migrated:
                await prepare_database(database, url)
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


async def prepare_database(database: "Database", url: str) -> None:
    """Makes a database ready for use: a SQLite file is migrated, another must have been."""
    if url.startswith("sqlite"):
        await database.migrate()
    else:
        await database.check_version()


def command_settings(**overrides: object) -> "Settings":
    """The settings of this process, with logs set up as they say."""
    from budkavle.logs import set_up_logs
    from budkavle.settings import read_settings

    settings = read_settings(**overrides)
    set_up_logs(settings.log_format, settings.log_level)
    return settings


def say(text: str) -> None:
    """Writes to standard output, at once."""
    click.echo(text)
    sys.stdout.flush()


def write_moment(moment: datetime) -> str:
    """A moment as commands print it."""
    return moment.isoformat(timespec="milliseconds")
