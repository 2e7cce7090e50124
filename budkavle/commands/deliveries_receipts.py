"""`budkavle deliveries export`, and receipts in other commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import print_line, read_system_names, run_with_database, write_moment
from budkavle.commands.option_types import Id, past_option
from budkavle.commands.records import (
    Column,
    RecordPrinter,
    describe_subscription,
    is_for_people,
    print_record,
    print_records,
)

if TYPE_CHECKING:
    from datetime import datetime

    from domain.receipts import FailedAttempt, Receipt
    from persistence.database import Database
    from persistence.receipts import ReceiptFilter

DELIVERED = "delivered"
"""The state of a delivery that has left the queue."""

PAGE = 500


_COLUMNS = (
    Column("Delivery", "id"),
    Column("System", "systemName"),
    Column("System id", "system", rank=9),
    Column("Subscription", describe_subscription, rank=2),
    Column("Webhook", "webhookUrl", rank=5, shortest=24),
    Column("State", "state", rank=9),
    Column("Status", "status", rank=3, is_number=True),
    Column("Attempts", "attempts", rank=1, is_number=True),
    Column("Created", "created", rank=6),
    Column("First attempt", "firstAttempt", rank=8),
    Column("Last attempt", "lastAttempt"),
    Column("ms", "milliseconds", rank=4, is_number=True),
    Column("Number", "number", rank=7, is_number=True),
    Column("Event", "eventId", rank=9),
    Column("SHA-256", "sha256", rank=9),
)

ATTEMPT_COLUMNS = (
    Column("Attempt", "attempt", is_number=True),
    Column("Time", "time"),
    Column("ms", "milliseconds", is_number=True),
    Column("Reason", "reason"),
    Column("Status", "status", is_number=True),
    Column("Answer", "answer", rank=1, shortest=24),
    Column("Detail", "detail", rank=1, shortest=40),
)


@click.command("export")
@click.option("--system", type=Id(), help="Only deliveries of this system.")
@click.option("--event", type=Id(), help="Only receipts of this event.")
@past_option("--since", "Only receipts whose last attempt began at this time or later.")
@past_option("--until", "Only receipts whose last attempt began before this time.")
def export(system: str | None, event: str | None, since: datetime | None, until: datetime | None) -> None:
    """Print all receipts, the oldest first, one line of JSON each."""
    from persistence.receipts import ReceiptFilter

    print_receipts(ReceiptFilter(system, event, since, until), as_json=True)


def print_receipts(filter_: ReceiptFilter, limit: int | None = None, *, as_json: bool) -> None:
    """Print receipts."""
    run_with_database(lambda database: print_receipt_pages(database, filter_, limit, as_json=as_json))


async def print_receipt_pages(
    database: Database,
    filter_: ReceiptFilter,
    limit: int | None = None,
    page_size: int = PAGE,
    *,
    as_json: bool = True,
) -> None:
    """Print receipts while they are read, page by page, by their last attempt."""
    from persistence import receipts
    from persistence.receipts import ReceiptPosition

    after, printed = None, 0
    with RecordPrinter(_COLUMNS, "receipts", as_json, ensure_ascii=True) as printer:
        names = await read_system_names(database) if printer.is_table else {}
        while limit is None or printed < limit:
            size = page_size if limit is None else min(page_size, limit - printed)
            page = await receipts.list_page(database, filter_, after, size)
            for item in page:
                failures = {"failures": [_describe_failure(each) for each in item.failures]} if item.failures else {}
                printer.print(_describe(item) | failures, names)
            printed += len(page)
            if len(page) < size:
                return
            after = ReceiptPosition(page[-1].last_attempt, page[-1].id)


async def print_receipt(database: Database, delivery_id: str, *, as_json: bool) -> bool:
    """Print the receipt of a delivery and then its attempts, the oldest first. Return whether there is one."""
    from persistence import receipts

    item = await receipts.find(database, delivery_id)
    if item is None:
        return False
    last = {"time": write_moment(item.last_attempt), "milliseconds": item.milliseconds, "status": item.status}
    attempts = [*(_describe_failure(each) for each in item.failures), {"attempt": item.attempts} | last]
    names = await read_system_names(database)
    print_record(_COLUMNS, _describe(item), names, as_json=as_json, ensure_ascii=True)
    if is_for_people(as_json=as_json):
        print_line("")
    print_records(ATTEMPT_COLUMNS, attempts, "attempts", as_json=as_json)
    return True


def _describe(item: Receipt) -> dict[str, Any]:
    return {
        "number": item.number,
        "id": item.id,
        "eventId": item.event_id,
        "system": item.system_id,
        "orgType": item.org_type,
        "orgCode": item.org_code,
        "entityType": item.entity_type,
        "webhookUrl": item.webhook_url,
        "state": DELIVERED,
        "attempts": item.attempts,
        "created": write_moment(item.accepted),
        "firstAttempt": write_moment(item.first_attempt),
        "lastAttempt": write_moment(item.last_attempt),
        "status": item.status,
        "milliseconds": item.milliseconds,
        "sha256": item.hash,
    }


def _describe_failure(failure: FailedAttempt) -> dict[str, Any]:
    values = {
        "attempt": failure.number,
        "time": write_moment(failure.time),
        "milliseconds": failure.milliseconds,
        "reason": failure.reason,
        "status": failure.status,
    }
    return {name: value for name, value in values.items() if value is not None}
