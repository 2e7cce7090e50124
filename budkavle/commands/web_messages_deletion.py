"""`budkavle messages delete`: delete messages that callers can read, by id or by what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from budkavle.commands.console import print_line, run_with_database
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Id, past_option
from budkavle.commands.progress import show_progress
from domain.errors import NotFound
from domain.retention import MESSAGES_DELETE, MessageSelection, Removal, RemovalRun
from domain.web_messages import READABLE_STATES, MessageState, OepInstance

if TYPE_CHECKING:
    from datetime import datetime

    from persistence.database import Database


@click.command()
@click.argument("ids", metavar="[ID]...", type=Id(), nargs=-1)
@past_option("--before", "Delete messages that became readable before this time.")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in READABLE_STATES]),
    help="Delete messages in this state: stored, without a case; or published on one.",
)
@click.option(
    "--instance",
    type=click.Choice([str(instance) for instance in OepInstance]),
    help="Delete messages of this Open-E instance.",
)
@click.option("--yes", is_flag=True, help="Confirm a filter. Without it, the messages that match are only counted.")
@operator_option
def delete(
    ids: tuple[str, ...],
    before: datetime | None,
    state: str | None,
    instance: str | None,
    operator: str,
    *,
    yes: bool,
) -> None:
    """Permanently delete the messages with these IDs, or all that match.

    A filter is --before, --state, --instance or several of them; a message must match all. Messages in doubt are never
    deleted, and neither are copies of messages on cases in Open-E.

    The exit code is 1 if a message does not exist or is in doubt, or if a filter is not confirmed with --yes.
    """
    if bool(ids) == any((before, state, instance)):
        raise click.UsageError("give ids, or at least one of --before, --state and --instance")
    if ids:
        missing = run_with_database(lambda database: delete_by_ids(database, ids, operator))
        print_line(f"{len(ids) - len(missing)} deleted, {len(missing)} unchanged")
        if missing:
            click.echo("\n".join(["Unknown, or in doubt:", *missing]), err=True)
            raise click.exceptions.Exit(1)
        return

    async def work(database: Database) -> int:
        from budkavle import retention
        from budkavle.clock import measure_clock

        selection = MessageSelection(
            before or (await measure_clock(database)).now(),
            None if state is None else MessageState(state),
            None if instance is None else OepInstance(instance),
        )
        if not yes:
            return await retention.count_messages(database, selection)
        return await delete_selected(database, selection, operator)

    number = run_with_database(work)
    if not yes:
        raise click.ClickException(f"{number} messages match and none was deleted: confirm it with --yes")
    print_line(f"{number} deleted")


async def delete_by_ids(database: Database, ids: tuple[str, ...], operator: str) -> list[str]:
    """Delete messages, each with an entry in the audit. Return the ids of those that callers cannot read."""
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import web_messages as stored

    run = RemovalRun((await measure_clock(database)).now(), operator, create_id(), MESSAGES_DELETE)
    missing = []
    for id_ in dict.fromkeys(ids):
        try:
            await stored.delete(database, id_, run.build_entry(MESSAGES_DELETE.outcome, {}))
        except NotFound:
            missing.append(id_)
    return missing


async def delete_selected(database: Database, selection: MessageSelection, operator: str) -> int:
    """Delete messages. Return their number, which the audit records also if the run fails or is killed."""
    from budkavle import retention
    from budkavle.clock import measure_clock
    from budkavle.ids import create_id
    from persistence import removal_counts

    run = RemovalRun((await measure_clock(database)).now(), operator, create_id(), MESSAGES_DELETE)
    removal = Removal(run, selection)
    await removal_counts.begin(database, removal)
    number = 0
    async with removal_counts.recording(database, run):
        with show_progress("Messages deleted:") as report:
            async for deleted in retention.remove_messages(database, selection, removal):
                number += deleted
                report(number)
    return number
