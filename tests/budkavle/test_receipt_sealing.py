"""Workers seal receipts regularly."""

from datetime import datetime, timedelta

import pytest

from budkavle.receipt_sealing import ReceiptSealing, seal_receipts
from persistence import receipt_rounds
from persistence.database import Database
from persistence.receipt_rounds import SealEnd
from tests.factories import NOW
from tests.persistence.test_receipt_rounds import build_rows, store

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_rounds_are_as_far_apart_as_the_interval(database: Database) -> None:
    clock = Clock()
    sealing = ReceiptSealing(database, 10 * MINUTE, clock)
    assert await sealing.run_once() == 0
    sealed = []
    for minutes in (1, 2, 10, 11, 5, 21):
        await store(database, *build_rows(1))
        clock.now = NOW + minutes * MINUTE
        sealed.append(await sealing.run_once())
    assert sealed == [1, 0, 0, 3, 0, 2]


async def test_round_waits_for_transactions_that_go_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It seals what was there when it was due, however many transactions have begun since then."""
    sealing = ReceiptSealing(database, MINUTE, Clock())
    await store(database, *build_rows(1))
    end = await receipt_rounds.find_end(database)
    sealing._end = SealEnd(end.number, 2**62)
    await store(database, *build_rows(1))
    if end.transaction is not None:
        assert await sealing.run_once() == 0
    sealing._end = end
    assert await sealing.run_once() == 1


async def test_seal_receipts_seals_a_backlog_of_several_rounds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_rounds, "ROUND", 2)
    await store(database, *build_rows(5))
    assert await seal_receipts(database, NOW) == 5
    assert await seal_receipts(database, NOW) == 0
