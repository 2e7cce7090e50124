"""`budkavle deliveries`: list deliveries with their reasons or receipts, replay and drop undelivered ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

import click

from budkavle.commands.console import print_line, read_system_names, run_with_database, write_moment
from budkavle.commands.deliveries_pauses import PAUSE_COLUMNS, describe_pause, pause, paused, resume
from budkavle.commands.deliveries_receipts import ATTEMPT_COLUMNS, DELIVERED, export, print_receipt, print_receipts
from budkavle.commands.deliveries_selection import Action, Selection, run_action, select
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Id, past_option
from budkavle.commands.records import (
    Column,
    RecordPrinter,
    describe_subscription,
    is_for_people,
    json_option,
    print_record,
    print_records,
)
from budkavle.documentation import list_documentation
from domain.deliveries import DeliveryState, Obstacle, Reason
from domain.delivery_pauses import find_pause
from domain.errors import NotFound
from domain.subscriptions import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from budkavle.commands.deliveries_selection import ChangeDeliveries
    from domain.deliveries import Attempt, NotReplayed, QueuedDelivery
    from domain.delivery_pauses import DeliveryPause
    from persistence.database import Database


def _describe_state(record: Mapping[str, Any]) -> str:
    """Return the state with what delays it, for people."""
    notes = [note for key, note in (("underWay", "under way"), ("pausedSince", "paused")) if key in record]
    return ", ".join([record["state"], *notes])


_COLUMNS = (
    Column("Delivery", "id"),
    Column("System", "systemName"),
    Column("System id", "system", rank=9),
    Column("Subscription", describe_subscription, rank=3),
    Column("Webhook", "webhookUrl", rank=7, shortest=24),
    Column("State", _describe_state),
    Column("Reason", "reason", rank=1),
    Column("Status", "status", rank=4, is_number=True),
    Column("Attempts", "attempts", rank=5, is_number=True),
    Column("Created", "created", rank=6),
    Column("Due", "due", rank=2),
    Column("Detail", "detail", rank=7, shortest=40),
    Column("Blocked by", "blockedBy", rank=8),
    Column("Event", "eventId", rank=9),
    *PAUSE_COLUMNS,
)

_SYSTEM = click.option("--system", type=Id(), help="Only deliveries of this system.")
_SINCE = past_option("--since", "Only events accepted from this time on.")
_REASON = click.option(
    "--reason",
    type=click.Choice([str(reason) for reason in Reason]),
    help="Only deliveries whose last attempt failed for this reason.",
)
_STATE = click.option(
    "--state", type=click.Choice([str(state) for state in DeliveryState]), help="Only deliveries in this state."
)
_ALL = click.option("--all", "is_all", is_flag=True, help="All deliveries.")
_IDS = click.argument("ids", type=Id(), nargs=-1)


@click.group(epilog=list_documentation("how-to/deliveries.md"))
def deliveries() -> None:
    """List, replay, drop and pause deliveries; list receipts.

    Deliveries that have arrived leave receipts, which `list`, `show` and `export` print.
    """


for _command in (export, pause, resume, paused):
    deliveries.add_command(_command)


@deliveries.command("list")
@_SYSTEM
@click.option(
    "--state",
    type=click.Choice([*(str(state) for state in DeliveryState), DELIVERED]),
    help="Only deliveries in this state; delivered lists receipts. By default all undelivered ones.",
)
@click.option("--event", type=Id(), help="Only deliveries of this event.")
@past_option("--since", "Only events accepted from this time on, or delivered from then on if they are.")
@past_option("--until", "The same, but before this time.")
@_REASON
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="The maximum number of entries.")
@json_option
def list_deliveries(
    system: str | None,
    state: str | None,
    event: str | None,
    since: datetime | None,
    until: datetime | None,
    reason: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List undelivered deliveries or receipts, the oldest first."""
    from persistence.receipts import ReceiptFilter

    if state == DELIVERED:
        if reason is not None:
            raise click.UsageError("a delivered delivery has no --reason")
        print_receipts(ReceiptFilter(system, event, since, until), limit, as_json=as_json)
        return
    selection = replace(_build_selection(system, state, since, reason), event_id=event, until=until)
    run_with_database(lambda database: print_list(database, selection, limit, as_json=as_json))


@deliveries.command("show")
@click.argument("delivery_id", metavar="ID", type=Id())
@json_option
def show(delivery_id: str, *, as_json: bool) -> None:
    """Show a delivery or its receipt, and its stored attempts.

    ID is what the receiver got as webhook-id.
    """
    run_with_database(lambda database: _print_one(database, delivery_id, as_json=as_json))


@deliveries.command("replay")
@_IDS
@_SYSTEM
@_STATE
@_SINCE
@_REASON
@_ALL
@operator_option
def replay(
    ids: tuple[str, ...],
    system: str | None,
    state: str | None,
    since: datetime | None,
    reason: str | None,
    operator: str,
    *,
    is_all: bool,
) -> None:
    """Send these IDS again, or all parked ones that match, or --all.

    --state waiting selects deliveries that wait for their next attempt. The back-off of a receiver that failed does not
    delay a replay.
    """
    from persistence import deliveries as stored

    selection = _build_selection(system, state or str(DeliveryState.PARKED), since, reason)
    _check_selection(ids, is_all=is_all, is_narrowed=any((system, state, since, reason)))
    _change("replay", "replayed", stored.replay, ids, selection, operator)


@deliveries.command("drop")
@_IDS
@_SYSTEM
@_STATE
@_SINCE
@_REASON
@_ALL
@click.option("--yes", is_flag=True, help="Required to drop deliveries that are not given by id.")
@operator_option
def drop(
    ids: tuple[str, ...],
    system: str | None,
    state: str | None,
    since: datetime | None,
    reason: str | None,
    operator: str,
    *,
    is_all: bool,
    yes: bool,
) -> None:
    """Permanently drop these IDS, or all that match, or --all. Running attempts may still arrive."""
    from persistence import deliveries as stored

    _check_selection(ids, is_all=is_all, is_narrowed=any((system, state, since, reason)))
    if not ids and not yes:
        raise click.UsageError("this permanently drops all matching deliveries: confirm it with --yes")
    _change("drop", "dropped", stored.drop, ids, _build_selection(system, state, since, reason), operator)


async def print_list(database: Database, selection: Selection, limit: int, *, as_json: bool = True) -> None:
    """Print deliveries while they are read, page by page."""
    printed = 0
    pauses = await _read_pauses(database)
    with RecordPrinter(_COLUMNS, "deliveries", as_json) as printer:
        names = await read_system_names(database) if printer.is_table else {}
        async for page in select(database, selection):
            for item in page[: limit - printed]:
                printer.print(_describe_delivery(item, pauses), names)
            printed += len(page)
            if printed > limit:
                break
    if printed > limit:
        click.echo(f"There are more than {limit} deliveries: narrow the list, or give a larger --limit", err=True)


async def _print_one(database: Database, delivery_id: str, *, as_json: bool) -> None:
    from persistence import deliveries as stored

    try:
        item = await stored.get(database, delivery_id)
    except NotFound:
        if await print_receipt(database, delivery_id, as_json=as_json):
            return
        raise NotFound(f"There is neither a delivery nor a receipt with id '{delivery_id}'") from None
    names = await read_system_names(database)
    print_record(_COLUMNS, _describe_delivery(item, await _read_pauses(database)), names, as_json=as_json)
    if is_for_people(as_json=as_json):
        print_line("")
    attempts = map(_describe_attempt, await stored.list_attempts(database, item.number))
    print_records(ATTEMPT_COLUMNS, attempts, "stored attempts", as_json=as_json)


async def _read_pauses(database: Database) -> list[DeliveryPause]:
    from budkavle.clock import measure_clock
    from persistence import delivery_pauses

    return await delivery_pauses.list_pauses(database, (await measure_clock(database)).now())


def _build_selection(system: str | None, state: str | None, since: datetime | None, reason: str | None) -> Selection:
    return Selection(
        system, None if state is None else DeliveryState(state), since, None if reason is None else Reason(reason)
    )


def _check_selection(ids: tuple[str, ...], *, is_all: bool, is_narrowed: bool) -> None:
    given = [bool(ids), is_narrowed, is_all].count(True)
    if given != 1:
        raise click.UsageError(f"give {'only one of ' if given else ''}delivery ids, a filter, or --all")


def _change(
    name: str,
    participle: str,
    change: ChangeDeliveries,
    ids: tuple[str, ...],
    selection: Selection,
    operator: str,
) -> None:
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import deliveries as stored

    async def work(database: Database) -> tuple[int, list[str], dict[str, NotReplayed]]:
        clock = await measure_clock(database)
        action = Action(name, participle, clock.now, create_id(), change, operator)
        changed, unchanged = await run_action(database, action, list(dict.fromkeys(ids)) or selection)
        return changed, unchanged, await stored.list_not_replayed(database, unchanged, clock.now()) if ids else {}

    changed, unchanged, reasons = run_with_database(work)
    print_line(f"{changed} {participle}, {len(unchanged)} unchanged")
    if unchanged and not ids:
        click.echo("Unchanged: under way, or behind an earlier delivery of the same key", err=True)
    if ids and unchanged:
        lines = [f"{id_}: {_explain(reasons[id_])}" for id_ in unchanged]
        click.echo("\n".join(["Unchanged:", *lines]), err=True)
        raise click.exceptions.Exit(1)


def _explain(unchanged: NotReplayed) -> str:
    match unchanged.obstacle:
        case Obstacle.UNKNOWN:
            return "not found; it may have arrived"
        case Obstacle.UNDER_WAY:
            until = "" if unchanged.until is None else f" until {write_moment(unchanged.until)} at the latest"
            return f"claimed by a worker{until}"
        case Obstacle.BLOCKED:
            return f"blocked by {unchanged.blocked_by}, an earlier delivery of the same key"
        case Obstacle.LOCKED:
            return "locked by another transaction; retry"
    assert_never(unchanged.obstacle)


def _describe_delivery(item: QueuedDelivery, pauses: Sequence[DeliveryPause]) -> dict[str, Any]:
    identity = Identity(item.org_type, item.org_code, item.entity_type)
    values = {
        "id": item.id,
        "eventId": item.event_id,
        "system": item.system_id,
        "orgType": item.org_type,
        "orgCode": item.org_code,
        "entityType": item.entity_type,
        "webhookUrl": item.webhook_url,
        "state": str(item.state),
        "attempts": item.attempts,
        "created": write_moment(item.created),
        # While a worker has claimed the delivery, its due time is the end of the lease.
        "due": None if item.due is None else write_moment(item.due),
        "underWay": item.is_held or None,
        "reason": item.reason and str(item.reason),
        "status": item.status,
        "detail": item.detail,
        "blockedBy": item.blocked_by,
        **describe_pause(find_pause(pauses, item.system_id, identity)),
    }
    return {name: value for name, value in values.items() if value is not None}


def _describe_attempt(attempt: Attempt) -> dict[str, Any]:
    values = {
        "attempt": attempt.number,
        "time": write_moment(attempt.time),
        "milliseconds": attempt.milliseconds,
        "reason": attempt.reason and str(attempt.reason),
        "status": attempt.status,
        # Without a response, the detail has the error.
        "answer": attempt.answer if attempt.status is not None else None,
        "detail": attempt.answer if attempt.status is None else None,
    }
    return {name: value for name, value in values.items() if value is not None}
