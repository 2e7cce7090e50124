"""`budkavle messages`: list web messages whose publication is not settled."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import load_command_settings, run_with_database
from budkavle.documentation import list_documentation
from domain.web_messages import UNSETTLED_STATES, MessageState

if TYPE_CHECKING:
    from budkavle.settings import Settings
    from persistence.database import Database

GRACE_SECONDS = 60
"""Seconds after the end of its timeout at which a message counts as left over from a crash."""


@click.group(epilog=list_documentation("how-to/in-doubt-messages.md"))
def messages() -> None:
    """List web messages whose publication is not settled."""


@messages.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in UNSETTLED_STATES]),
    multiple=True,
    help="Only messages in this state; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="The maximum number of entries.")
def list_messages(states: tuple[str, ...], limit: int) -> None:
    """List messages whose publication is not settled, the oldest first, one line of JSON each.

    `leftOver`: a message in the state `sending` was left over from a crash, since no call takes that long. Check on its
    case whether Open-E has it.
    """
    settings = load_command_settings()
    for line in run_with_database(lambda database: list_unsettled(database, settings, states, limit), settings):
        click.echo(json.dumps(line))


async def list_unsettled(
    database: "Database", settings: "Settings", states: tuple[str, ...], limit: int
) -> list[dict[str, Any]]:
    """Return a line for each unsettled message in one of the states, oldest first."""
    from budkavle.clock import measure_clock
    from persistence import web_messages as stored

    wanted = tuple(MessageState(state) for state in states) or UNSETTLED_STATES
    longest = timedelta(seconds=settings.open_e_connect_timeout + settings.open_e_read_timeout + GRACE_SECONDS)
    clock = await measure_clock(database)
    left_over_before = clock.now() - longest
    return [
        {
            "id": message.id,
            "state": str(message.state),
            "oepInstance": str(message.oep_instance),
            "flowInstanceId": message.flow_instance_id,
            "sent": message.sent.isoformat(timespec="milliseconds"),
            "leftOver": message.state is MessageState.SENDING and message.sent < left_over_before,
        }
        for message in await stored.list_unsettled(database, wanted, limit)
    ]
