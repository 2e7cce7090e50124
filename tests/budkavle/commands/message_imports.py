"""Run `budkavle import web-message-sender` in tests, and read what it stored."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from domain.errors import NotFound
from domain.web_messages import WebMessage
from persistence import web_messages as stored
from persistence.database import Database
from persistence.tables import metadata
from persistence.work import short_read
from tests.budkavle.conftest import Invoke
from tests.databases import run_with_database
from tests.mariadb import OldService

COMMAND = ("import", "web-message-sender")
ZONE = ("--time-zone", "Europe/Stockholm")


def build_id(number: int) -> str:
    return f"f0882f1d-06bc-47fd-b017-{number:012x}"


def run(invoke: Invoke, url: str, old: OldService, *options: str, code: int = 0) -> tuple[list[dict[str, Any]], Any]:
    """Run an import, and return its remarks and its summary."""
    result = invoke(url, *COMMAND, old.url, *ZONE, *options)
    assert (result.exit_code, result.stderr) == (code, ""), result.output
    *remarks, summary = map(json.loads, result.stdout.splitlines())
    return remarks, summary


def read(url: str, message_id: str) -> WebMessage | None:
    """Return a message, or None."""
    return read_all(url, [message_id]).get(message_id)


def read_all(url: str, message_ids: Iterable[str]) -> dict[str, WebMessage]:
    """Return the messages that exist, by id."""

    async def work(database: Database) -> dict[str, WebMessage]:
        found = {}
        for message_id in message_ids:
            with suppress(NotFound):
                found[message_id] = await stored.get(database, message_id)
        return found

    messages: dict[str, WebMessage] = run_with_database(url, work)
    return messages


def read_content(url: str, message: WebMessage, number: int) -> bytes:
    async def work(database: Database) -> bytes:
        pieces = stored.read_attachment(database, message.attachments[number])
        return b"".join([piece async for piece in pieces])

    content: bytes = run_with_database(url, work)
    return content


def dump(url: str, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the tables that an import writes, except the audit, in order."""
    names = tables or (
        "imported_messages",
        "web_message_attachments",
        "web_message_references",
        "web_messages",
        "events",
    )

    def read_rows(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            name: sorted((tuple(row) for row in connection.execute(metadata.tables[name].select())), key=repr)
            for name in names
        }

    rows: dict[str, list[tuple[Any, ...]]] = run_with_database(
        url, lambda database: database.read(short_read(read_rows))
    )
    return rows


def list_audit(url: str, invoke: Invoke) -> list[dict[str, Any]]:
    return [json.loads(line) for line in invoke(url, "audit", "list").stdout.splitlines()]
