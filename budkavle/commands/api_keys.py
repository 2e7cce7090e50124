"""`budkavle api-key`: create, list and revoke API keys."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import MAX_DAYS, Expiry, Scope
from budkavle.commands.records import Column, json_option, print_records
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.callers import check_caller_name

if TYPE_CHECKING:
    from persistence.database import Database

_COLUMNS = (
    Column("Name", "name"),
    Column("Scopes", "scopes", shortest=16),
    Column("Created", "created", rank=2),
    Column("Expires", "expires", rank=1),
    Column("Last used", "lastUsed"),
    Column("Revoked", "revoked", rank=1),
)


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
    "publish:ORGTYPE or publish:ORGTYPE:ORGCODE; operations, or only operations.read. May be repeated.",
)
@click.option(
    "--expires",
    type=Expiry(),
    help="The key is valid for this number of days, for a duration such as 12h, or until this time; without an offset "
    "it is Copenhagen time.",
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
@json_option
def list_api_keys(*, as_json: bool) -> None:
    """List all keys, revoked and expired ones too."""
    from persistence import api_keys

    print_records(_COLUMNS, map(_describe, run_with_database(api_keys.list_all)), "keys", as_json=as_json)


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


def _describe(key: ApiKey) -> dict[str, Any]:
    described: dict[str, Any] = {"name": key.name, "scopes": key.scopes, "created": write_moment(key.created)}
    for field, moment in (("expires", key.expires), ("lastUsed", key.last_used), ("revoked", key.revoked)):
        if moment is not None:
            described[field] = write_moment(moment)
    return described
