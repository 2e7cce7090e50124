"""`budkavle deliveries pause`, `resume` and `paused`: maintenance windows of receivers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import print_line, read_system_names, run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Id, Moment, SubscriptionIdentity
from budkavle.commands.records import Column, json_option, print_record, print_records

if TYPE_CHECKING:
    from datetime import datetime

    from domain.delivery_pauses import DeliveryPause
    from domain.subscriptions import Identity
    from persistence.database import Database
    from persistence.delivery_pauses import Command

PAUSE_COLUMNS = (
    Column("Paused since", "pausedSince", rank=3),
    Column("Paused until", "pausedUntil", rank=2),
    Column("Paused by", "pausedBy", rank=4),
)
_COLUMNS = (
    Column("System", "systemName"),
    Column("System id", "system", rank=1),
    Column("Subscription", "subscription"),
    *PAUSE_COLUMNS,
)

_SYSTEM = click.option("--system", type=Id(), required=True, help="The system.")
_SUBSCRIPTION = click.option(
    "--subscription",
    type=SubscriptionIdentity(),
    metavar="ORGTYPE/ORGCODE/ENTITYTYPE",
    help="Only this subscription of the system.",
)


@click.command("pause")
@_SYSTEM
@_SUBSCRIPTION
@click.option(
    "--until",
    type=Moment(),
    help="The pause ends at this time, or after 90s, 30m, 2h or 3d; a time without an offset is Copenhagen time. By "
    "default it ends with `deliveries resume`.",
)
@json_option
@operator_option
def pause(
    system: str,
    subscription: Identity | None,
    until: datetime | timedelta | None,
    operator: str,
    *,
    as_json: bool,
) -> None:
    """Pause deliveries to a system or to one subscription.

    None is attempted or lost until the pause ends. Attempts that have begun may still end. A second command changes the
    end of the pause.
    """
    from persistence import delivery_pauses

    async def work(database: Database) -> None:
        command = await _build_command(database, system, subscription, operator)
        end = command.now + until if isinstance(until, timedelta) else until
        if end is not None and end <= command.now:
            raise click.UsageError(f"--until must be after the current time, {write_moment(command.now)}")
        ordered = await delivery_pauses.pause(database, command, end)
        print_record(_COLUMNS, _describe(ordered), await read_system_names(database), as_json=as_json)

    run_with_database(work)


@click.command("resume")
@_SYSTEM
@_SUBSCRIPTION
@json_option
@operator_option
def resume(system: str, subscription: Identity | None, operator: str, *, as_json: bool) -> None:
    """End a pause, and wake the workers. Other pauses of the system remain and are printed."""
    from persistence import delivery_pauses

    async def work(database: Database) -> None:
        command = await _build_command(database, system, subscription, operator)
        remaining = await delivery_pauses.resume(database, command)
        await database.wake_workers()
        print_line("resumed; other pauses of the system:" if remaining else "resumed")
        if remaining:
            await _print_pauses(database, remaining, as_json=as_json)

    run_with_database(work)


@click.command("paused")
@click.option("--system", type=Id(), help="Only pauses of this system.")
@json_option
def paused(system: str | None, *, as_json: bool) -> None:
    """List the pauses."""
    from persistence import delivery_pauses

    async def work(database: Database) -> None:
        from budkavle.clock import measure_clock

        found = await delivery_pauses.list_pauses(database, (await measure_clock(database)).now(), system)
        await _print_pauses(database, found, as_json=as_json)

    run_with_database(work)


def describe_pause(pause: DeliveryPause | None) -> dict[str, Any]:
    """Return the pause of a delivery as commands print it."""
    if pause is None:
        return {}
    until = None if pause.until is None else write_moment(pause.until)
    return {"pausedSince": write_moment(pause.since), "pausedUntil": until, "pausedBy": pause.operator}


async def _build_command(database: Database, system_id: str, identity: Identity | None, operator: str) -> Command:
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence.delivery_pauses import Command

    clock = await measure_clock(database)
    return Command(system_id, identity, operator, clock.now(), create_id(), create_id())


async def _print_pauses(database: Database, pauses: list[DeliveryPause], *, as_json: bool) -> None:
    names = await read_system_names(database)
    print_records(_COLUMNS, map(_describe, pauses), "pauses", names, as_json=as_json)


def _describe(pause: DeliveryPause) -> dict[str, Any]:
    identity = None if pause.identity is None else "/".join(map(str, pause.identity))
    values = {"system": pause.system_id, "subscription": identity} | describe_pause(pause)
    return {name: value for name, value in values.items() if value is not None}
