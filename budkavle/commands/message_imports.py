"""`budkavle import`: take over the messages of another service (decision 0043)."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from budkavle.commands.console import load_command_settings, print_line, run_with_database
from budkavle.commands.operators import operator_option
from budkavle.commands.progress import show_progress
from budkavle.commands.records import Column, is_for_people, json_option, print_record, print_records
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from budkavle.message_imports.run import ImportSummary
    from budkavle.message_imports.web_message_sender import SourceAddress
    from domain.message_imports import Remark
    from persistence.database import Database

INSTALL = "PyMySQL is not installed: pip install 'budkavle[import]'"

_REMARKS = (
    Column("Message", "id"),
    Column("Field", "field"),
    Column("Kind", "kind"),
    Column("Reason", "reason", shortest=20),
)
_COUNTS = (
    Column("Field", "field"),
    Column("Kind", "kind"),
    Column("Reason", "reason", shortest=20),
    Column("Remarks", "number", is_number=True),
)
_SUMMARY = (
    Column("Found", "found"),
    Column("Imported", "imported"),
    Column("Imported before", "importedBefore"),
    Column("Rejected", "rejected"),
    Column("Deleted there", lambda summary: summary["deletedThere"]["deleted"] + summary["deletedThere"]["kept"]),
    Column("Files", "files"),
    Column("Bytes", "bytes"),
    Column("Dry run", "dryRun"),
)


class Zone(click.ParamType[ZoneInfo]):
    """A time zone by its name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        """Return the time zone."""
        try:
            return ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is not a time zone such as Europe/Stockholm or UTC", param, ctx)


def _check_municipality(_context: click.Context, _parameter: click.Parameter, id_: str | None) -> str | None:
    if id_ is not None:
        from domain.municipalities import VALID_IDS

        if id_ not in VALID_IDS:
            raise click.BadParameter("must be the id of a Swedish municipality or county, such as 2281")
    return id_


@click.group("import", epilog=list_documentation("how-to/switch-from-web-message-sender.md"))
def import_() -> None:
    """Take over the data of another service."""


@import_.command("web-message-sender", epilog=list_documentation("how-to/switch-from-web-message-sender.md"))
@click.argument("url")
@click.option(
    "--time-zone",
    "zone",
    type=Zone(),
    required=True,
    help="The zone of its server, in which it stores times without an offset, such as Europe/Stockholm.",
)
@click.option(
    "--municipality",
    metavar="ID",
    callback=_check_municipality,
    help="For messages without a municipality, from before 3.0.",
)
@click.option(
    "--instance",
    type=click.Choice(["internal", "external"]),
    help="For messages without an Open-E instance, from before 2.0.",
)
@click.option("--omit-files", is_flag=True, help="Import messages without files that are empty, too large or too many.")
@click.option("--delete", "deletes", is_flag=True, help="Delete imported messages that were deleted there since.")
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append remarks to this file instead of printing them.",
)
@click.option(
    "--name",
    default="web-message-sender",
    show_default=True,
    help="Distinguishes services, if several are imported.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing: only report.")
@json_option
@operator_option
def web_message_sender(
    url: str,
    zone: ZoneInfo,
    municipality: str | None,
    instance: str | None,
    file: Path | None,
    name: str,
    operator: str,
    *,
    omit_files: bool,
    deletes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import the messages of a WebMessageSender 3.x.

    Each is imported once. URL is that of its database, mariadb://USER:PASSWORD@HOST:PORT/DATABASE, or a reference to
    it: env:NAME or file:PATH. WebMessageSender may keep running: the import reads one snapshot of the database, and
    does not change it. Repeat a run that was interrupted; a later run imports new messages. The command prints a line
    of JSON for each remark, by id and field, and a summary at the end. The exit code is 1 if a message was rejected.
    """
    address = _read_address(url)
    settings = load_command_settings()
    remarks: list[dict[str, str]] = []

    async def work(database: Database) -> ImportSummary:
        from budkavle.clock import measure_clock
        from budkavle.message_imports.run import ImportOptions, MessageImport
        from budkavle.message_imports.web_message_sender import open_web_message_sender
        from budkavle.open_e import build_accounts, build_municipalities
        from domain.message_imports import ImportRules
        from domain.web_messages import OepInstance

        chosen = None if instance is None else OepInstance(instance)
        municipalities = build_municipalities(settings, build_accounts(settings))
        rules = ImportRules(zone, municipalities, municipality, chosen, omit_files)
        options = ImportOptions(rules, name, address.place, is_dry_run=dry_run, deletes=deletes)
        now = (await measure_clock(database)).now
        with open_web_message_sender(address) as source:
            return await MessageImport(database, source, options, report, show).run(operator, now)

    # On a terminal, no lines must be printed next to the progress.
    keep = remarks.extend if sys.stdout.isatty() else _print_lines
    with _open_report(file, keep) as report, show_progress("Importing messages:") as show:
        summary = run_with_database(work, settings).describe() | {"dryRun": dry_run}
    if file is None and sys.stdout.isatty():
        print_records(_REMARKS, remarks, "remarks", as_json=as_json)
    if is_for_people(as_json=as_json):
        print_records(_COUNTS, summary["remarks"], "remarks")
    print_record(_SUMMARY, summary, as_json=as_json)
    if summary["rejected"]:
        raise click.exceptions.Exit(1)


def _read_address(url: str) -> SourceAddress:
    try:
        from budkavle.message_imports.web_message_sender import parse_address
    except ModuleNotFoundError as exc:
        if exc.name != "pymysql":
            raise
        raise click.ClickException(INSTALL) from exc
    if url.startswith(("env:", "file:")):
        from delivery.references import read_value

        url = read_value(url)
    return parse_address(url)


@contextmanager
def _open_report(
    file: Path | None, keep: Callable[[list[dict[str, str]]], None]
) -> Iterator[Callable[[Sequence[Remark]], None]]:
    """Yield a function that appends remarks to the file, and returns when they are in it. Without a file, keep them."""
    if file is None:
        yield lambda remarks: keep([_describe(remark) for remark in remarks])
        return
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    except OSError as exc:
        raise _describe_unwritable(file, exc) from exc

    def write(remarks: Sequence[Remark]) -> None:
        data = "".join(f"{json.dumps(_describe(remark), ensure_ascii=False)}\n" for remark in remarks).encode()
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as exc:
            raise _describe_unwritable(file, exc) from exc

    try:
        yield write
    finally:
        os.close(descriptor)


def _describe_unwritable(file: Path, exc: OSError) -> click.ClickException:
    return click.ClickException(f"{file} cannot be written: {exc.strerror}")


def _print_lines(remarks: list[dict[str, str]]) -> None:
    for remark in remarks:
        print_line(json.dumps(remark))


def _describe(remark: Remark) -> dict[str, str]:
    values = {"id": remark.message_id, "field": remark.field, "kind": str(remark.kind), "reason": remark.reason}
    return {name: value for name, value in values.items() if value}
