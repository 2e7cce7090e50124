"""`budkavle api-key`: create, list and revoke API keys."""

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import MAX_DAYS, Expiry, Scope
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.callers import check_caller_name

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
    type=Scope(),
    multiple=True,
    required=True,
    help="A right of the key: messages, or only messages.read or messages.write; publish, or only the events of "
    "publish:ORGTYPE or publish:ORGTYPE:ORGCODE. May be repeated.",
)
@click.option(
    "--expires",
    type=Expiry(),
    help="The key is valid for this number of days, or until this time; without an offset it is Copenhagen time.",
)
@operator_option
def create_api_key(name: str, scopes: tuple[str, ...], expires: timedelta | datetime | None, operator: str) -> None:
    """Create a key and print it. It cannot be printed again."""
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import api_keys

    try:
        check_caller_name(name)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="NAME") from exc
    key = generate_key()

    async def create(database: "Database") -> None:
        clock = await measure_clock(database)
        now = clock.now()
        end = now + expires if isinstance(expires, timedelta) else expires
        if end is not None and not now < end <= now + timedelta(days=MAX_DAYS):
            raise click.BadParameter(f"must be in the future, and within {MAX_DAYS} days", param_hint="--expires")
        stored = ApiKey(hash_key(key.encode()), name, tuple(sorted(set(scopes))), now, expires=end)
        await api_keys.create(database, stored, create_id(), operator)

    run_with_database(create, may_create=True)
    click.echo(key)


@api_key.command("list")
def list_api_keys() -> None:
    """List all keys, revoked and expired ones too, one line of JSON each."""
    from persistence import api_keys

    for key in run_with_database(api_keys.list_all):
        line = {"name": key.name, "scopes": key.scopes, "created": write_moment(key.created)}
        for field, moment in (("expires", key.expires), ("lastUsed", key.last_used), ("revoked", key.revoked)):
            if moment is not None:
                line[field] = write_moment(moment)
        click.echo(json.dumps(line, ensure_ascii=False))


@api_key.command("revoke")
@click.argument("name")
@operator_option
def revoke_api_key(name: str, operator: str) -> None:
    """Revoke a key. Running services reject it within a second."""
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import api_keys

    async def revoke(database: "Database") -> None:
        clock = await measure_clock(database)
        await api_keys.revoke(database, name, clock.now(), create_id(), operator)

    run_with_database(revoke)
