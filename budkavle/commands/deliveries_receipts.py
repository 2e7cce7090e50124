"""Print the receipts of delivered deliveries, one line of JSON each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from budkavle.commands.console import print_line, write_moment

if TYPE_CHECKING:
    from domain.receipts import FailedAttempt, Receipt
    from persistence.database import Database
    from persistence.receipts import ReceiptFilter

DELIVERED = "delivered"
"""The state of a delivery that has left the queue."""

PAGE = 500


async def print_receipts(
    database: Database, filter_: ReceiptFilter, limit: int | None = None, page_size: int = PAGE
) -> None:
    """Print receipts while they are read, page by page, by their last attempt."""
    from persistence import receipts
    from persistence.receipts import ReceiptPosition

    after, printed = None, 0
    while limit is None or printed < limit:
        size = page_size if limit is None else min(page_size, limit - printed)
        page = await receipts.list_page(database, filter_, after, size)
        for item in page:
            failures = {"failures": [_describe_failure(each) for each in item.failures]} if item.failures else {}
            print_line(json.dumps(_describe(item) | failures))
        printed += len(page)
        if len(page) < size:
            return
        after = ReceiptPosition(page[-1].last_attempt, page[-1].id)


async def print_receipt(database: Database, delivery_id: str) -> bool:
    """Print the receipt of a delivery and then its attempts, the oldest first. Return whether there is one."""
    from persistence import receipts

    item = await receipts.find(database, delivery_id)
    if item is None:
        return False
    last = {"time": write_moment(item.last_attempt), "milliseconds": item.milliseconds, "status": item.status}
    attempts = [*(_describe_failure(each) for each in item.failures), {"attempt": item.attempts} | last]
    for value in [_describe(item), *attempts]:
        print_line(json.dumps(value))
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
