"""Lists of parked, waiting and blocked deliveries of one system, and of one event, page by page."""

from typing import Any

import pytest
import sqlalchemy as sa

from domain.deliveries import AttemptOutcome, QueuedDelivery
from domain.time_ranges import TimeRange
from persistence import audit, deliveries, events, publication_statuses
from persistence.database import Database
from persistence.deliveries import ParkedSummary
from persistence.queue import back_offs, claims
from persistence.work import Read, short_read
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, build_entry, prepare, queue_deliveries, sync
from tests.persistence.queues import SECOND, build_lease, build_settled, claim, publish

pytestmark = pytest.mark.anyio

KEYED = {"identification_type": 1, "identification": "9999999901"}


@pytest.fixture
async def subscribed(database: Database) -> Database:
    """Return two systems with the same subscription."""
    await prepare(database)
    for system_id in SYSTEM_IDS[:2]:
        await sync(database, [build_entry()], system_id)
    return database


def list_numbers(items: list[QueuedDelivery]) -> list[int]:
    return [item.number for item in items]


async def settle_all(database: Database, outcome: AttemptOutcome) -> None:
    claimed = await claim(database, of={SYSTEM: 100})
    due = NOW + SECOND if outcome is AttemptOutcome.AGAIN else None
    await claims.settle(database, build_lease(), [build_settled(item, outcome, due) for item in claimed])


async def test_list_parked_returns_those_of_the_system_page_by_page(subscribed: Database) -> None:
    assert await deliveries.summarise_parked(subscribed, SYSTEM) == ParkedSummary(0, 0)
    for _ in range(3):
        await publish(subscribed)
    await settle_all(subscribed, AttemptOutcome.PARK)
    await publish(subscribed)
    page = await deliveries.list_parked(subscribed, SYSTEM, 0, 2)
    rest = await deliveries.list_parked(subscribed, SYSTEM, page[-1].number, 2)
    parked = [*page, *rest]
    assert [(item.system_id, item.state, item.status) for item in parked] == [(SYSTEM, "parked", 404)] * 3
    assert await deliveries.summarise_parked(subscribed, SYSTEM) == ParkedSummary(3, parked[-1].number)
    assert await deliveries.list_parked(subscribed, SYSTEM_IDS[1], 0, 9) == []


async def test_list_waiting_continues_after_a_due_time(subscribed: Database) -> None:
    for seconds in (2, 0, 1, 1):
        await publish(subscribed, created=NOW + seconds * SECOND)
    found, after = [], None
    while page := await deliveries.list_waiting(subscribed, SYSTEM, after, 2):
        assert page[-1].due is not None
        found += page
        after = page[-1].due, page[-1].number
    assert [item.due for item in found] == [NOW + seconds * SECOND for seconds in (0, 1, 1, 2)]


async def test_list_blocked_returns_what_is_set_aside_behind_another_delivery(subscribed: Database) -> None:
    for _ in range(3):
        await publish(subscribed, **KEYED)
    await settle_all(subscribed, AttemptOutcome.AGAIN)
    [first] = await deliveries.list_waiting(subscribed, SYSTEM, None, 9)
    blocked = await deliveries.list_blocked(subscribed, SYSTEM, 9)
    assert [(item.system_id, item.blocked_by) for item in blocked] == [(SYSTEM, first.id)] * 2
    assert len(await deliveries.list_blocked(subscribed, SYSTEM, 1)) == 1


async def test_list_of_event_returns_its_undelivered_deliveries(subscribed: Database) -> None:
    event_id = (await publish(subscribed)).event_id
    await publish(subscribed)
    found = await deliveries.list_of_event(subscribed, event_id, 9)
    assert {(item.event_id, item.system_id) for item in found} == {(event_id, id_) for id_ in SYSTEM_IDS[:2]}
    assert list_numbers(found) == sorted(list_numbers(found))
    assert list_numbers(await deliveries.list_of_event(subscribed, event_id, 1)) == [found[0].number]


READS: dict[str, tuple[Read[..., Any], tuple[Any, ...]]] = {
    "ix_deliveries_parked": (deliveries._list_parked, (SYSTEM, 0, 50)),
    "ix_deliveries_due": (deliveries._list_waiting, (SYSTEM, (NOW, 1), 50)),
    "ix_deliveries_blocked": (deliveries._list_blocked, (SYSTEM, 50)),
    "ix_deliveries_event_id": (deliveries._list_of_event, (SYSTEM, 50)),
    "ix_audit_entries_chain_number": (audit._list_latest, (SYSTEM, 10)),
    "ix_audit_entries_time_id": (audit._list_of_request, ("r", TimeRange(NOW), 10)),
    "ix_events_created": (events._list_of_request, ("r", TimeRange(NOW), 10)),
    "pk_web_messages": (publication_statuses._list_of_request, ("r", TimeRange(NOW), NOW, 10)),
    "pk_target_pauses": (back_offs._list_back_offs, (SYSTEM, NOW, 10)),
}


@pytest.mark.parametrize("index", READS)
async def test_reads_for_operators_use_an_index(subscribed: Database, index: str) -> None:
    """A page about one system or request does not become slower with the deliveries of others."""
    await queue_deliveries(subscribed, SYSTEM_IDS[1], 500)
    work, values = READS[index]
    [plan] = await subscribed.read(short_read(explain), work, values)
    # SQLite may also look up deliveries without a due time in the index of due times.
    assert index.removeprefix("pk_") in plan.replace("ix_deliveries_due_of_subscription", index), plan


class Recorder:
    """Takes the statement of a read, as the connection does, and returns no rows."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect = dialect
        self.statements: list[tuple[Any, dict[str, Any]]] = []

    def execute(self, statement: Any, parameters: dict[str, Any] | None = None) -> Any:
        self.statements.append((statement, parameters or {}))
        return self

    def mappings(self) -> list[Any]:
        return []

    def all(self) -> list[Any]:
        return []

    def __iter__(self) -> Any:
        return iter(())


def explain(connection: sa.Connection, work: Read[..., Any], values: tuple[Any, ...]) -> list[str]:
    """Return the plans of the statements of a read. PostgreSQL would read small tables as a whole."""
    recorder = Recorder(connection.dialect)
    work.function(recorder, *values)  # type: ignore[arg-type]
    word = "explain query plan" if connection.dialect.name == "sqlite" else "explain"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("set enable_seqscan = off")
    plans = []
    for statement, parameters in recorder.statements:
        bound = statement.params(parameters) if parameters else statement
        text = bound.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        plans.append("\n".join(str(row) for row in connection.exec_driver_sql(f"{word} {text}")))
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("reset enable_seqscan")
    return plans
