"""`budkavle person`: export and erase what the service stores about a person (decision 0036)."""

from __future__ import annotations

import json
import os
import re
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import load_command_settings, print_line, run_with_database, write_moment
from budkavle.commands.operators import operator_option
from budkavle.commands.option_types import Id
from budkavle.commands.progress import show_progress
from budkavle.commands.records import Column, is_for_people, print_record, print_table
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.web_messages import Attachment, WebMessage
    from persistence.database import Database
    from persistence.persons import PersonDelivery

_COUNTS = (
    Column("Messages", "messages"),
    Column("Messages in doubt", "inDoubt"),
    Column("Files", "files"),
    Column("Events", "events"),
    Column("Deliveries", "deliveries"),
    Column("Recorded reads", "reads"),
)
_STAYS = (Column("Stays", "what"), Column("Why", "why", shortest=30, is_wrapped=True))

_PARTY_ID = click.argument("party_id", metavar="PARTY_ID", type=Id())


@click.group(epilog=list_documentation("how-to/personal-data.md", "reference/personal-data.md"))
def person() -> None:
    """Export and erase what is stored about a person."""


@person.command("export")
@_PARTY_ID
@click.argument("file", type=click.Path(path_type=Path), required=False)
@operator_option
def export(party_id: str, file: Path | None, operator: str) -> None:
    """Write what is stored about a person to the new ZIP file FILE.

    It has `person.json` and the files of messages. Without FILE, print `person.json`, which has the messages,
    undelivered deliveries, and recorded reads. Messages without a party are not found.
    """
    if file is not None and os.path.lexists(file):
        raise click.UsageError(f"{file} exists: give a new file")

    async def work(database: Database) -> tuple[dict[str, Any], dict[str, int]]:
        from budkavle.clock import measure_clock
        from budkavle.person_erasure import build_entry
        from persistence import persons

        now = (await measure_clock(database)).now()
        described, files = await _collect(database, party_id)
        counts = {name: len(each) for name, each in described.items()} | {"files": len(files)}
        entry = build_entry("person export", "exported", operator, now, counts)
        document = {"partyId": party_id, "exported": write_moment(now), **described}
        with _create_private(file) as part:
            if part is not None:
                await _write_file(database, part, document, files)
            await persons.record(database, entry)
        return document, counts

    with show_progress("Collecting what is stored"):
        described, counts = run_with_database(work)
    if file is not None and is_for_people():
        print_record(_COUNTS, counts, as_json=False)
    else:
        print_line(json.dumps(described if file is None else counts, ensure_ascii=False))


@person.command("erase")
@_PARTY_ID
@click.option("--yes", is_flag=True, help="Erase. Without it, only show how much would be erased.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on a terminal too.")
@operator_option
def erase(party_id: str, operator: str, *, yes: bool, as_json: bool) -> None:
    """Erase the messages to a person, and print a report.

    Their files, references, events and deliveries are erased too.

    The exit code is 1 if something could not be erased yet. A command that was interrupted can be repeated.
    """
    settings = load_command_settings()

    async def work(database: Database) -> dict[str, Any]:
        from budkavle.clock import measure_clock
        from budkavle.person_erasure import PersonErasure, count_erasable

        if not yes:
            return {"wouldErase": await count_erasable(database, party_id)}
        now = (await measure_clock(database)).now
        erasure = PersonErasure(database, party_id, operator, now, settings.build_call_times().longest_call)
        return await erasure.run()

    with show_progress("Erasing" if yes else "Counting what would be erased"):
        report = run_with_database(work, settings)
    if is_for_people(as_json=as_json):
        _print_report(report)
    else:
        print_line(json.dumps(report, ensure_ascii=False, indent=2))
    if not yes:
        raise click.ClickException("nothing was erased: confirm it with --yes")
    if report["repeat"]:
        raise click.exceptions.Exit(1)


def _print_report(report: dict[str, Any]) -> None:
    """Print the report of an erasure for people."""
    if "wouldErase" in report:
        print_line("Would be erased:")
        print_record(_COUNTS, report["wouldErase"], as_json=False)
        return
    print_line("Erased:")
    print_record(_COUNTS, report["erased"], as_json=False)
    if report["repeat"]:
        print_line("Not erased yet, repeat the command in a minute:")
        print_record(_COUNTS, report["remaining"], as_json=False)
    print_line("")
    print_table(_STAYS, [{"what": what, "why": why} for what, why in report["stays"].items()])


async def _collect(database: Database, party_id: str) -> tuple[dict[str, list[Any]], dict[str, Attachment]]:
    """Return what is stored about a person, and the files by their path in the export."""
    from budkavle.commands.audit_listing import describe_reads
    from domain.message_reads import build_party_subject
    from persistence import message_reads, persons

    messages: list[dict[str, Any]] = []
    files: dict[str, Attachment] = {}
    ids = {party_id}
    for each in await persons.list_messages(database, party_id):
        message = await _load(database, each.id)
        if message is None:
            continue
        paths = {each.id: f"attachments/{each.id}-{_clean_name(each.file_name)}" for each in message.attachments}
        files |= {paths[attachment.id]: attachment for attachment in message.attachments}
        messages.append(_describe(message, str(each.state), paths))
        ids.add(message.id)
    deliveries = await persons.list_deliveries(database, await persons.find_events(database, ids))
    reads = await message_reads.list_recorded(database, build_party_subject(party_id))
    return {
        "messages": messages,
        "deliveries": [_describe_delivery(each) for each in deliveries],
        "reads": [describe_reads(each) for each in reads],
    }, files


async def _load(database: Database, message_id: str) -> WebMessage | None:
    """Return a message in any state, or None if it was deleted meanwhile."""
    from domain.errors import NotFound
    from persistence import web_messages as stored

    try:
        return await stored.find_unsettled(database, message_id) or await stored.get(database, message_id)
    except NotFound:
        return None


async def _write_file(
    database: Database, target: Path, described: dict[str, Any], files: dict[str, Attachment]
) -> None:
    from persistence import web_messages as stored

    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person.json", json.dumps(described, ensure_ascii=False, indent=1))
        for path, attachment in files.items():
            with archive.open(path, "w", force_zip64=True) as member:
                async for piece in stored.read_attachment(database, attachment):
                    member.write(piece)


@contextmanager
def _create_private(target: Path | None) -> Iterator[Path | None]:
    """Yield a new file that only its owner can read. It is named `target` at the end, and removed after an error."""
    if target is None:
        yield None
        return
    part = target.with_name(f"{target.name}.part")
    try:
        # A command that was killed may have left one.
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            yield part
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise click.ClickException(f"{target} cannot be written: {exc.strerror}") from exc


def _clean_name(name: str) -> str:
    """Return a file name that is safe in any folder: letters, digits, `_`, `-` and dots that do not come first."""
    return re.sub(r"[^\w.-]", "_", name)[-60:].lstrip(".") or "file"


def _describe(message: WebMessage, state: str, paths: dict[str, str]) -> dict[str, Any]:
    return {
        "id": message.id,
        "state": state,
        "created": message.created and write_moment(message.created),
        "oepInstance": str(message.oep_instance),
        "municipalityId": message.municipality_id,
        "senderUserId": message.sender_user_id,
        "externalReferences": [{"key": each.key, "value": each.value} for each in message.external_references],
        "message": message.message,
        "attachments": [
            {
                "id": each.id,
                "fileName": each.file_name,
                "mimeType": each.mime_type,
                "size": each.size,
                "sha256": each.sha256,
                "file": paths[each.id],
            }
            for each in message.attachments
        ],
    }


def _describe_delivery(delivery: PersonDelivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "eventId": delivery.event_id,
        "system": delivery.system_id,
        "state": delivery.state,
        "created": write_moment(delivery.created),
        "attempts": delivery.attempts,
        "event": json.loads(delivery.content),
    }
