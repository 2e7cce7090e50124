"""`budkavle api-key`: create, list and revoke API keys."""

import json
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import run_with_database, write_moment
from domain.api_keys import SCOPES, ApiKey, generate_key, hash_key

if TYPE_CHECKING:
    from persistence.database import Database


@click.group("api-key")
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
    help="An operation group that the key gives access to; may be repeated.",
)
def create_api_key(name: str, scopes: tuple[str, ...]) -> None:
    """Create a key and print it. It cannot be printed again."""
    from budkavle.clock import measure_clock
    from persistence import api_keys

    if not name.strip() or not name.isprintable():
        raise click.BadParameter("must not be blank", param_hint="NAME")
    key = generate_key()

    async def create(database: "Database") -> None:
        clock = await measure_clock(database)
        stored = ApiKey(hash_key(key.encode()), name, tuple(sorted(set(scopes))), clock.now())
        await api_keys.create(database, stored)

    run_with_database(create, may_create=True)
    click.echo(key)


@api_key.command("list")
def list_api_keys() -> None:
    """List all keys, revoked ones too, one line of JSON each."""
    from persistence import api_keys

    for key in run_with_database(api_keys.list_all):
        line = {"name": key.name, "scopes": key.scopes, "created": write_moment(key.created)}
        click.echo(
            json.dumps(line | ({"revoked": write_moment(key.revoked)} if key.revoked else {}), ensure_ascii=False)
        )


@api_key.command("revoke")
@click.argument("name")
def revoke_api_key(name: str) -> None:
    """Revoke a key. Running services reject it within a second."""
    from budkavle.clock import measure_clock
    from persistence import api_keys

    async def revoke(database: "Database") -> None:
        clock = await measure_clock(database)
        await api_keys.revoke(database, name, clock.now())

    run_with_database(revoke)
