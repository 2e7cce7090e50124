"""Receipts that are sealed in the audit, on each database, and what an insider does with them."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from domain.audit import RECEIPTS, ChainedEntry
from domain.receipt_rounds import KIND, MARK
from persistence import audit, receipt_rounds, tables
from persistence.database import Database
from persistence.opening import open_database
from persistence.receipt_rounds import ReceiptCounts, SealEnd
from persistence.work import bulk_write
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.factories import NOW
from tests.persistence.rows import execute

pytestmark = pytest.mark.anyio

EXPIRED = NOW - timedelta(days=90)
FAILURES = [[1, "2026-03-01 12:00:00.123000", 20, 503, "http"], [2, "2026-03-01 12:00:01.000000", 5, None, "timeout"]]


def build_rows(count: int, system_id: str = SYSTEM_ID, **changes: Any) -> list[dict[str, Any]]:
    build_rows.count += 1  # type: ignore[attr-defined]
    values = {
        "event_id": str(UUID(int=7)),
        "system_id": system_id,
        "org_type": 1,
        "org_code": 101,
        "entity_type": 202,
        "webhook_url": "/webhook",
        "accepted": NOW,
        "first_attempt": NOW,
        "last_attempt": NOW,
        "attempts": 1,
        "status": 200,
        "milliseconds": 20,
        "hash": "0f" * 32,
        "failures": None,
    }
    start = build_rows.count << 32  # type: ignore[attr-defined]
    return [values | {"id": str(UUID(int=start + place))} | changes for place in range(count)]


build_rows.count = 0  # type: ignore[attr-defined]


async def store(database: Database, *rows: dict[str, Any]) -> None:
    await database.write(bulk_write(lambda connection: connection.execute(tables.receipts.insert(), list(rows))))


async def seal(database: Database, request_id: str = "r-1") -> int:
    end = await receipt_rounds.find_end(database)
    assert await receipt_rounds.has_ended(database, end)
    return await receipt_rounds.seal_round(database, end.number, NOW, request_id)


async def list_entries(database: Database, chain: str) -> list[ChainedEntry]:
    return [entry for _, entry in await audit.list_page(database, after=0, limit=1000, chain=chain)]


async def verify(database: Database) -> tuple[ReceiptCounts, str | None]:
    _, broken = await audit.verify(database)
    assert broken is None
    return await receipt_rounds.verify(database, EXPIRED)


async def test_round_seals_the_receipts_of_each_system_in_its_chain(database: Database) -> None:
    first, second, other = build_rows(2), build_rows(1, failures=FAILURES, webhook_url='/"æ'), build_rows(1, OTHER_ID)
    await store(database, first[0])
    await store(database, other[0])
    await store(database, first[1], second[0])
    assert await verify(database) == (ReceiptCounts(0, 0, 4), None)
    assert await seal(database) == 4
    (entry,) = await list_entries(database, SYSTEM_ID)
    assert (entry.entry.kind, entry.entry.operation, entry.entry.outcome) == (KIND, "sealReceipts", "sealed")
    detail = dict(entry.entry.detail)
    assert len(detail.pop("hash")) == 64
    assert len(detail.pop("marks")) == 3 * MARK
    assert detail == {"count": 3, "first": 1, "last": 4, "earliest": "2026-03-01T12:00:00.123+00:00"}
    assert [each.entry.detail["count"] for each in await list_entries(database, OTHER_ID)] == [1]
    (round_,) = await list_entries(database, RECEIPTS)
    assert round_.entry.detail == {"after": 0, "until": 4, "count": 4, "batches": 2}
    assert await verify(database) == (ReceiptCounts(4, 0, 0), None)
    assert await receipt_rounds.find_last_round(database) == NOW


async def test_later_rounds_continue_and_write_nothing_without_receipts(database: Database) -> None:
    assert await seal(database) == 0
    for number in range(3):
        await store(database, *build_rows(2))
        assert await seal(database, f"r-{number}") == 2
        assert await seal(database, f"r-{number}") == 0
    await store(database, *build_rows(1))
    entries = await list_entries(database, RECEIPTS)
    assert [(each.entry.detail["after"], each.entry.detail["until"]) for each in entries] == [(0, 2), (2, 4), (4, 6)]
    assert await verify(database) == (ReceiptCounts(6, 0, 1), None)


async def test_backlog_is_sealed_in_bounded_batches_and_rounds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PAGE": 2, "BATCH": 3, "ROUND": 7}.items():
        monkeypatch.setattr(receipt_rounds, name, value)
    for _ in range(3):
        await store(database, *build_rows(4), *build_rows(1, OTHER_ID))
    assert [await seal(database, f"r-{number}") for number in range(4)] == [7, 7, 1, 0]
    counts = [entry.entry.detail["count"] for entry in await list_entries(database, SYSTEM_ID)]
    assert counts == [3, 3, 3, 3]
    assert await verify(database) == (ReceiptCounts(15, 0, 0), None)


async def test_two_processes_never_seal_the_same_receipts(database: Database, database_url: str) -> None:
    others = [open_database(database_url) for _ in range(3)]
    try:
        for number in range(5):
            await store(database, *build_rows(20), *build_rows(20, OTHER_ID))
            sealed = await asyncio.gather(*(seal_to_the_end(each, f"r-{number}") for each in (database, *others)))
            assert sum(sealed) == 40
    finally:
        for each in others:
            await each.close()
    assert await verify(database) == (ReceiptCounts(200, 0, 0), None)


async def seal_to_the_end(database: Database, request_id: str) -> int:
    end = await receipt_rounds.find_end(database)
    while not await receipt_rounds.has_ended(database, end):  # noqa: ASYNC110  # There is no event.
        await asyncio.sleep(0.001)
    return await receipt_rounds.seal_round(database, end.number, NOW, request_id)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_receipts_are_sealed_after_the_transactions_that_may_precede_them(
    database: Database, database_url: str
) -> None:
    """A transaction has stored a receipt with a lower number, and commits after it was found that others are due."""
    slow = open_database(database_url)
    stored, may_commit = asyncio.Event(), asyncio.Event()

    @bulk_write
    def store_slowly(connection: sa.Connection) -> None:
        connection.execute(tables.receipts.insert(), build_rows(1))
        stored.set()
        sa.util.await_only(may_commit.wait())

    storing = asyncio.create_task(slow.write(store_slowly))
    try:
        await stored.wait()
        await store(database, *build_rows(1))
        end = await receipt_rounds.find_end(database)
        assert end.number == 2
        assert not await receipt_rounds.has_ended(database, end)
        may_commit.set()
        await storing
        assert await receipt_rounds.has_ended(database, end)
        assert await receipt_rounds.seal_round(database, end.number, NOW, "r") == 2
    finally:
        may_commit.set()
        await slow.close()
    assert await verify(database) == (ReceiptCounts(2, 0, 0), None)


async def test_end_without_receipts_is_zero(database: Database) -> None:
    end = await receipt_rounds.find_end(database)
    assert end == SealEnd(0, end.transaction)


MISSING_FIRST = "3 receipts are missing, the first one at its beginning"
MISSING = "1 of 3 receipts are missing, the first one after receipt"
FORGERIES = {
    "changed": ("update receipts set status = 299 where number = 4", "{4} was changed or moved"),
    "changed path": ("update receipts set webhook_url = '/x' where number = 1", "{1} was changed or moved"),
    "changed body": (f"update receipts set hash = '{'1' * 64}' where number = 6", "{6} was changed or moved"),
    "changed time": (
        "update receipts set first_attempt = '2020-01-01 00:00:00.000000' where number = 6",
        "{6} was changed or moved",
    ),
    "changed failure": ("update receipts set failures = null where number = 5", "{5} was changed or moved"),
    "removed": (
        "delete from receipts where number = 4",
        f"{MISSING} {{2}}",
    ),
    "removed first": (
        "delete from receipts where number = 1",
        f"1 of {MISSING_FIRST}",
    ),
    "removed all": (
        "delete from receipts where number <= 4",
        f"3 of {MISSING_FIRST}",
    ),
    "moved": (
        "update receipts set number = 7 where number = 2",
        f"{MISSING} {{1}}",
    ),
    "moved before": ("update receipts set number = -7 where number = 4", "receipt {4} was changed or moved"),
    "of another system": (
        "update receipts set system_id = (select system_id from receipts where number = 3) where number = 2",
        f"{MISSING} {{1}}",
    ),
}


@pytest.fixture
async def sealed(database: Database) -> list[dict[str, Any]]:
    """Return six receipts in two rounds: numbers 1, 2, 4 and then 5, 6 of one system, 3 of another one."""
    rows = [*build_rows(2), *build_rows(1, OTHER_ID), *build_rows(1), *build_rows(1, failures=FAILURES), *build_rows(1)]
    await store(database, *rows[:4])
    await seal(database)
    await store(database, *rows[4:])
    await seal(database, "r-2")
    return rows


@pytest.mark.parametrize("name", FORGERIES)
async def test_verify_names_the_receipt_that_an_insider_changed(
    database: Database, sealed: list[dict[str, Any]], name: str
) -> None:
    assert await verify(database) == (ReceiptCounts(6, 0, 0), None)
    statement, reason = FORGERIES[name]
    await execute(database, statement)
    _, fault = await verify(database)
    for number, row in enumerate(sealed, 1):
        reason = reason.replace(f"{{{number}}}", row["id"])
    assert fault is not None
    assert fault.endswith(reason)


@pytest.mark.parametrize("number", [-(2**63), -1, 0])
async def test_verify_finds_an_invented_receipt_before_all_others(
    database: Database, sealed: list[dict[str, Any]], number: int
) -> None:
    (row,) = build_rows(1, OTHER_ID, number=number)
    await store(database, row)
    _, fault = await verify(database)
    assert fault is not None
    assert row["id"] in fault


async def test_verify_finds_an_invented_receipt_in_a_gap(database: Database) -> None:
    """Numbers have gaps: a transaction that failed has drawn one."""
    await store(database, *build_rows(1, number=1), *build_rows(1, number=3), *build_rows(1, number=5))
    await seal(database)
    for number, system_id in ((2, SYSTEM_ID), (4, OTHER_ID)):
        (row,) = build_rows(1, system_id, number=number)
        await store(database, row)
        _, fault = await verify(database)
        assert fault is not None
        assert fault.endswith(
            (f"receipt {row['id']} was added", f"receipt {row['id']} of '{OTHER_ID}' was added: no entry has it")
        )
        await execute(database, f"delete from receipts where number = {number}")
        assert await verify(database) == (ReceiptCounts(3, 0, 0), None)


async def test_receipts_that_have_expired_may_be_missing(database: Database) -> None:
    """Those that remain are still compared."""
    old = EXPIRED - timedelta(minutes=1)
    rows = [*build_rows(2, last_attempt=old), *build_rows(2)]
    await store(database, *rows)
    await seal(database)
    await store(database, *build_rows(2))
    await seal(database, "r-2")
    await execute(database, "delete from receipts where number <= 2")
    assert await verify(database) == (ReceiptCounts(4, 2, 0), None)
    await execute(database, "update receipts set status = 299 where number = 4")
    assert (await verify(database))[
        1
    ] == f"receipts 1 to 4, entry 1 of '{SYSTEM_ID}': receipt {rows[3]['id']} was changed or added"
    await execute(database, "delete from receipts where number <= 4")
    assert await verify(database) == (ReceiptCounts(2, 4, 0), None)
    await execute(database, "delete from receipts where number = 5")
    assert (await verify(database))[1] is not None


async def test_entry_of_a_round_that_lacks_a_batch_is_found(database: Database, sealed: object) -> None:
    """An insider removes the last batch of a chain, and its receipts, and computes all hashes again."""
    await execute(database, "delete from audit_entries where number = 2 and chain <> 'receipts'")
    _, fault = await receipt_rounds.verify(database, EXPIRED)
    assert fault == "entry 2 of 'receipts' does not continue the last one, or lacks batches of its round"
    await execute(database, "delete from audit_entries where number = 2 or chain = 'receipts'")
    _, fault = await receipt_rounds.verify(database, EXPIRED)
    assert fault is not None
    assert fault.endswith("belongs to no round")


async def test_unreadable_values_are_faults(database: Database, sealed: object) -> None:
    detail = json.dumps({"after": 0})
    await execute(database, f"update audit_entries set detail = '{detail}' where chain = 'receipts' and number = 2")
    _, fault = await receipt_rounds.verify(database, EXPIRED)
    assert fault == "a receipt or an entry cannot be read after receipt number 4"
