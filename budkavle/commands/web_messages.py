"""`budkavle messages`: list, show and settle web messages that are in doubt, and delete others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import load_command_settings, run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Id
from budkavle.commands.records import Column, json_option, print_record, print_records
from budkavle.commands.web_messages_deletion import delete
from budkavle.documentation import list_documentation
from domain.web_messages import UNSETTLED_STATES, MessageState

if TYPE_CHECKING:
    from datetime import datetime

    from budkavle.settings import Settings
    from domain.publications import PublicationStatus
    from domain.web_messages import WebMessage
    from persistence.database import Database

_COLUMNS = (
    Column("Message", "id"),
    Column("State", "state"),
    Column("Open-E", "oepInstance"),
    Column("Own Open-E", "ownOpenE"),
    Column("Case", "flowInstanceId", is_number=True),
    Column("Sent", "sent", rank=1),
    Column("Created", "created", rank=5),
    Column("Open-E id", "openEMessageId", rank=2, is_number=True),
    Column("Failed read-backs", "failedReadBacks", rank=4, is_number=True),
    Column("Next read-back", "nextReadBack", rank=3),
    Column("Caller", "caller", rank=2, shortest=16),
)
_CONTENT_COLUMNS = (
    Column("In doubt", "inDoubt"),
    Column("Party", "partyId"),
    Column("Sender", "senderUserId"),
    Column("References", lambda record: [f"{each['key']}={each['value']}" for each in record["externalReferences"]]),
    Column("Text", "message"),
    Column("Files", lambda record: [f"{each['fileName']} ({each['size']} bytes)" for each in record["attachments"]]),
)

MAX_OPEN_E_ID = 2**63 - 1


@click.group(epilog=list_documentation("how-to/in-doubt-messages.md", "how-to/remove-data.md"))
def messages() -> None:
    """List, show and settle messages in doubt; delete others."""


messages.add_command(delete)


@messages.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in UNSETTLED_STATES]),
    multiple=True,
    help="Only messages in this state; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="The maximum number of entries.")
@json_option
def list_messages(states: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """List messages in doubt, the oldest first.

    A message is in doubt if the service sent it to Open-E and does not know the outcome. Messages whose call may still
    run are not listed.
    """
    settings = load_command_settings()
    wanted = tuple(MessageState(state) for state in states) or UNSETTLED_STATES

    async def work(database: Database) -> list[PublicationStatus]:
        from persistence import publication_statuses as stored

        return await stored.list_in_doubt(database, await compute_before(database, settings), wanted, limit)

    found = run_with_database(work, settings)
    print_records(_COLUMNS, map(describe_status, found), "messages in doubt", as_json=as_json)


@messages.command("show")
@click.argument("message_id", metavar="ID", type=Id())
@click.option("--content", is_flag=True, help="Also print the text, the references and the names of the files.")
@json_option
def show(message_id: str, *, content: bool, as_json: bool) -> None:
    """Show the state of a message.

    Its content may be personal data, so only --content prints it.
    """
    settings = load_command_settings()

    async def work(database: Database) -> dict[str, Any]:
        from budkavle.commands.web_messages_settling import find_status
        from persistence import web_messages as stored

        status = await find_status(database, message_id, await compute_before(database, settings))
        shown = describe_status(status) | {"inDoubt": status.is_in_doubt}
        if content:
            message = await stored.find_unsettled(database, message_id) or await stored.get(database, message_id)
            shown |= _describe_content(message)
        return shown

    columns = (*_COLUMNS, *_CONTENT_COLUMNS) if content else (*_COLUMNS, *_CONTENT_COLUMNS[:1])
    print_record(columns, run_with_database(work, settings), as_json=as_json)


@messages.command("settle")
@click.argument("message_id", metavar="[ID]", type=Id(), required=False)
@click.option("--published", is_flag=True, help="The message is on its case: make it readable.")
@click.option(
    "--not-published",
    is_flag=True,
    help="The message is not on its case: delete it here, and free its Idempotency-Key.",
)
@click.option(
    "--resend",
    is_flag=True,
    help="Ask Open-E, and send the message again only if it is not on its case and can no longer arrive there.",
)
@click.option(
    "--open-e-id",
    type=click.IntRange(1, MAX_OPEN_E_ID),
    metavar="N",
    help="With --published: the messageID of the message in Open-E.",
)
@click.option("--all", "is_all", is_flag=True, help="Ask Open-E now about all messages in doubt.")
@operator_option
def settle(
    message_id: str | None,
    open_e_id: int | None,
    operator: str,
    *,
    published: bool,
    not_published: bool,
    resend: bool,
    is_all: bool,
) -> None:
    """Settle the message in doubt with this ID, or ask Open-E about --all.

    The service settles messages in doubt by itself while Open-E answers.

    The exit code is 1 if the message could not be settled as requested. With --all, it is 1 if a case could not be read
    or a message is still in doubt.
    """
    if [published, not_published, resend].count(True) != (message_id is not None) or is_all == (message_id is not None):
        raise click.UsageError("give an ID with --published, --not-published or --resend, or --all without an ID")
    if open_e_id is not None and not published:
        raise click.UsageError("--open-e-id requires --published")
    from budkavle.commands import web_messages_settling as settling

    settings = load_command_settings()

    async def work(database: Database) -> bool:
        from budkavle.clock import measure_clock

        context = settling.SettlingContext(database, settings, (await measure_clock(database)).now, operator)
        if message_id is None:
            return await settling.settle_all(context)
        if published:
            await settling.mark_published(context, message_id, open_e_id)
        elif not_published:
            await settling.mark_not_published(context, message_id)
        else:
            await settling.resend(context, message_id)
        return True

    if not run_with_database(work, settings):
        raise click.exceptions.Exit(1)


async def compute_before(database: Database, settings: Settings) -> datetime:
    """Return the time before which the call of a message that is still `sending` was sent, so that it has ended."""
    from budkavle.clock import measure_clock

    return (await measure_clock(database)).now() - settings.build_call_times().longest_call


def describe_status(status: PublicationStatus) -> dict[str, Any]:
    """Return a status as commands print it. Absent values are omitted."""
    values = {
        "id": status.id,
        "state": str(status.state),
        "oepInstance": str(status.oep_instance),
        "ownOpenE": None if status.open_e == status.oep_instance else status.open_e,
        "flowInstanceId": status.flow_instance_id,
        "sent": status.sent and write_moment(status.sent),
        "created": status.created and write_moment(status.created),
        "openEMessageId": status.open_e_message_id,
        "caller": status.caller,
        "failedReadBacks": status.failures or None,
        "nextReadBack": status.next_read and write_moment(status.next_read),
    }
    return {name: value for name, value in values.items() if value is not None}


def _describe_content(message: WebMessage) -> dict[str, Any]:
    return {
        "partyId": message.party_id,
        "senderUserId": message.sender_user_id,
        "externalReferences": [{"key": each.key, "value": each.value} for each in message.external_references],
        "message": message.message,
        "attachments": [
            {"fileName": each.file_name, "mimeType": each.mime_type, "size": each.size} for each in message.attachments
        ],
    }
