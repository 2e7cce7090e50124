"""Lists of receipts on each database."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from persistence import receipts, tables
from persistence.database import Database
from persistence.receipts import ReceiptFilter, ReceiptPosition
from persistence.work import short_read, short_write
from tests.factories import NOW

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
NUMBER = 5000
SYSTEMS = [str(uuid4()) for _ in range(5)]
PAGE = 100


def _build_row(place: int, system_id: str) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "event_id": str(uuid4()),
        "system_id": system_id,
        "org_type": 1,
        "org_code": 101,
        "entity_type": 202,
        "webhook_url": "/webhook",
        "accepted": NOW,
        "first_attempt": NOW + place * SECOND,
        "last_attempt": NOW + place * SECOND,
        "attempts": 1,
        "status": 200,
        "milliseconds": 20,
        "hash": "0f" * 32,
    }


async def _fill(database: Database) -> list[dict[str, Any]]:
    """Store many receipts, several of each time, and return those of the first system in their order."""
    await database.migrate()
    rows = [_build_row(place // 10, SYSTEMS[place % 5]) for place in range(NUMBER)]

    @short_write
    def insert(connection: sa.Connection) -> None:
        connection.execute(tables.receipts.insert(), rows)
        connection.exec_driver_sql("analyze receipts" if connection.dialect.name == "postgresql" else "analyze")

    await database.write(insert)
    of_system = [row for row in rows if row["system_id"] == SYSTEMS[0]]
    return sorted(of_system, key=lambda row: (row["last_attempt"], row["id"]))


async def test_pages_contain_each_receipt_in_order(database: Database) -> None:
    expected = await _fill(database)
    found, after = [], None
    while page := await receipts.list_page(database, ReceiptFilter(SYSTEMS[0]), after, 7):
        found += [item.id for item in page]
        after = ReceiptPosition(page[-1].last_attempt, page[-1].id)
    assert found == [row["id"] for row in expected]


async def test_list_begins_at_the_later_of_cursor_and_time(database: Database) -> None:
    expected = await _fill(database)
    early, late = expected[100], expected[200]
    for first, last in ((early, late), (late, early)):
        after = ReceiptPosition(first["last_attempt"], first["id"])
        filter_ = ReceiptFilter(SYSTEMS[0], since=last["last_attempt"], until=late["last_attempt"] + SECOND)
        found = [item.id for item in await receipts.list_page(database, filter_, after, NUMBER)]
        assert found == [
            row["id"]
            for row in expected
            if late["last_attempt"] <= row["last_attempt"] < late["last_attempt"] + SECOND
            and (first is early or row["id"] > late["id"])
        ]


@pytest.mark.parametrize(
    ("filter_", "index"),
    [
        (ReceiptFilter(SYSTEMS[0]), "ix_receipts_system_id_last_attempt_id"),
        (ReceiptFilter(SYSTEMS[0], since=NOW + 100 * SECOND), "ix_receipts_system_id_last_attempt_id"),
        (ReceiptFilter(since=NOW + 100 * SECOND, until=NOW + 200 * SECOND), "ix_receipts_last_attempt_id"),
        (ReceiptFilter(event_id=str(uuid4())), "ix_receipts_event_id"),
        (ReceiptFilter(SYSTEMS[0], event_id=str(uuid4())), "ix_receipts_event_id"),
    ],
    ids=["system", "system and time", "time", "event", "system and event"],
)
async def test_list_reads_an_index(database: Database, filter_: ReceiptFilter, index: str) -> None:
    """A list of millions of receipts must not be read or sorted as a whole for a page."""
    middle = (await _fill(database))[NUMBER // 10]

    @short_read
    def explain(connection: sa.Connection) -> str:
        after = ReceiptPosition(middle["last_attempt"], middle["id"])
        select = receipts._build_list(filter_, after, PAGE)
        text = str(select.compile(connection, compile_kwargs={"literal_binds": True}))
        word = "explain query plan" if connection.dialect.name == "sqlite" else "explain (format json)"
        rows = connection.exec_driver_sql(f"{word} {text}").all()
        return json.dumps([[str(value) for value in row] for row in rows])

    plan = await database.read(explain)
    assert index in plan, plan
    assert "SCAN receipts" not in plan, plan
    assert "Seq Scan" not in plan, plan
    # Only the few receipts of an event are sorted.
    assert filter_.event_id or "TEMP B-TREE" not in plan, plan
