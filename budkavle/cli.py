"""The command line: `budkavle COMMAND`."""

import json
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from budkavle.settings import Settings, read_settings
from domain.api_keys import SCOPES, ApiKey, hash_key, new_key
from domain.errors import BudkavleError
from persistence.database import Database

T = TypeVar("T")

# Connexion imports a test client of Starlette that we do not use.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")


class _Commands(click.Group):
    """Tells an error that we foresaw in one line, without a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BudkavleError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="budkavle")
def main() -> None:
    """Budkavle: web messages for Open-E and other channels. Settings come from BUDKAVLE_* (see the README)."""


@main.command()
@click.option("--host", help="Instead of BUDKAVLE_HOST.")
@click.option("--port", type=int, help="Instead of BUDKAVLE_PORT; 0 takes a free one.")
@click.option("--tls-cert", metavar="FILE", help="Instead of BUDKAVLE_TLS_CERT.")
@click.option("--tls-key", metavar="FILE", help="Instead of BUDKAVLE_TLS_KEY.")
@click.option("--client-ca", metavar="FILE", help="Instead of BUDKAVLE_CLIENT_CA.")
def serve(**given: str | int | None) -> None:
    """Run the service."""
    from budkavle import commands, serving

    serving.run(commands.serve(_settings(**given), _say))


@main.command("mock-open-e")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 takes a free one.")
@click.option("--username", help="Ask for this user by HTTP Basic.")
@click.option("--password", help="And this password.")
@click.option(
    "--case",
    "cases",
    type=click.IntRange(1),
    multiple=True,
    help="A known case; may be given many times. Without it every number is one.",
)
def mock_open_e(host: str, port: int, username: str | None, password: str | None, cases: tuple[int, ...]) -> None:
    """Run a mock Open-E for integration partners."""
    from budkavle import commands, serving

    if password is not None and username is None:
        raise click.UsageError("--password needs --username")
    _settings()
    serving.run(commands.mock_open_e(host, port, username, password, cases, _say))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of the service.")
@click.option("--mock-port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="Of the mock Open-E.")
def dev(port: int, mock_port: int) -> None:
    """Run the service, a mock Open-E and a demo on this machine, and print commands to try."""
    from budkavle import commands, serving

    # Somebody watches, unless the environment says otherwise.
    log_format = None if "BUDKAVLE_LOG_FORMAT" in os.environ else "console"
    settings = _settings(host="127.0.0.1", port=port, log_format=log_format)
    serving.run(commands.dev(settings, mock_port, _say))


@main.command()
def migrate() -> None:
    """Bring the database to this version. Safe when several processes do it at once."""
    _with_database(lambda database: database.migrate(), migrated=False)


@main.group("api-key")
def api_key() -> None:
    """Create, list and revoke API keys."""


@api_key.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it opens; may be given many times.",
)
def create_api_key(name: str, scopes: tuple[str, ...]) -> None:
    """Create a key and print it, this once."""
    from budkavle.service import now
    from persistence import api_keys

    if not name.strip() or not name.isprintable():
        raise click.BadParameter("must not be blank", param_hint="NAME")
    key = new_key()
    stored = ApiKey(hash_key(key.encode()), name, tuple(sorted(set(scopes))), now())
    _with_database(lambda database: api_keys.create(database, stored))
    click.echo(key)


@api_key.command("list")
def list_api_keys() -> None:
    """List all keys, revoked ones too, one line of JSON each."""
    from persistence import api_keys

    for key in _with_database(api_keys.list_all):
        line = {"name": key.name, "scopes": key.scopes, "created": _time(key.created)}
        click.echo(json.dumps(line | ({"revoked": _time(key.revoked)} if key.revoked else {}), ensure_ascii=False))


@api_key.command("revoke")
@click.argument("name")
def revoke_api_key(name: str) -> None:
    """Revoke a key; running services refuse it within a second."""
    from budkavle.service import now
    from persistence import api_keys

    _with_database(lambda database: api_keys.revoke(database, name, now()))


@main.group()
def messages() -> None:
    """Look after web messages."""


@messages.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice(["sending", "unknown"]),
    multiple=True,
    help="Only these; may be given twice.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
def list_messages(states: tuple[str, ...], limit: int) -> None:
    """List messages whose publication is not settled, the oldest first, one line of JSON each.

    `leftOver` says that a message in the state `sending` was left over from a crash: no call takes that long. Whether
    Open-E has it can be looked up on its case.
    """
    from budkavle import commands

    settings = _settings()
    for line in _with_database(lambda database: commands.list_unsettled(database, settings, states, limit), settings):
        click.echo(json.dumps(line))


def _with_database(
    work: Callable[[Database], Awaitable[T]], settings: Settings | None = None, *, migrated: bool = True
) -> T:
    """What `work` returns, done on the database of the settings."""
    import asyncio

    from budkavle.service import prepare_database
    from persistence.database import open_database

    url = (settings or _settings()).database_url.get_secret_value()

    async def run() -> T:
        database = open_database(url)
        try:
            if migrated:
                await prepare_database(database, url)
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _settings(**overrides: object) -> Settings:
    from budkavle.logs import set_up_logs

    settings = read_settings(**overrides)
    set_up_logs(settings.log_format, settings.log_level)
    return settings


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
