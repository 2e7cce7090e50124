"""The settler reads messages in doubt back from Open-E and records what is on their cases."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import structlog
from prometheus_client import REGISTRY

from domain.errors import BackendFailed, NotFound, StorageFailed
from domain.publications import CallTimes, Case, CaseMessage, SettlingRules
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from handlers.publications.settler import LONGEST_BACKOFF, MAX_CASES, PublicationSettler
from mock_open_e import MockOpenE
from open_e.accounts import Account
from open_e.client import OpenEClient
from open_e.messageapi import MessageApi
from open_e.read_backs import ReadBacks
from openapi.observation.logs import set_up_logs
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.work import short_write
from tests.factories import NOW, build_web_message

pytestmark = pytest.mark.anyio

ACCOUNTS = {instance: Account(f"http://open-e.test/{instance}/api/callback") for instance in OepInstance}
TIMES = CallTimes(timedelta(seconds=35), timedelta(seconds=20))
RULES = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(seconds=2))
LEASE = timedelta(seconds=10)
SECOND = timedelta(seconds=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def read_backs() -> Iterator[ReadBacks]:
    calls = ReadBacks(MessageApi(ACCOUNTS, timeout=8, threads=4), threads=4)
    yield calls
    calls.close()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    set_up_logs("json", "info")
    with structlog.testing.capture_logs() as entries:
        yield entries
    set_up_logs("json", "error")


@pytest.fixture
def settler(database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE) -> PublicationSettler:
    del open_e
    return new_settler(database, clock, read_backs.read_case)


def new_settler(
    database: Database,
    clock: Callable[[], datetime],
    read_case: Callable[[Case, datetime], Awaitable[Sequence[CaseMessage]]],
    on_readable: Callable[[], None] = lambda: None,
    rules: SettlingRules = RULES,
) -> PublicationSettler:
    return PublicationSettler(database, read_case, rules=rules, lease=LEASE, now=clock, on_readable=on_readable)


@asynccontextmanager
async def started(settler: PublicationSettler) -> AsyncIterator[None]:
    settler.start()
    yield
    await settler.close()


def to_case(text: str = "Hej", case: int = 1068, **changes: Any) -> WebMessage:
    references = (ExternalReference("flowInstanceId", str(case)),)
    return build_web_message(**{"message": text, "external_references": references, "created": None} | changes)


def publish(message: WebMessage, sent: datetime = NOW) -> int:
    """Publish a message on the mock."""
    client = OpenEClient(ACCOUNTS, connect_timeout=5, read_timeout=5, threads=1)
    number = client.add_message(message, added=sent, request_id="r")
    client.close()
    return number


async def lose_answer(database: Database, message: WebMessage, sent: datetime = NOW, *, arrives: bool) -> WebMessage:
    """Store a message whose response was lost."""
    await stored.begin_sending(database, message, sent)
    if arrives:
        publish(message, sent)
    await stored.mark_unknown(database, message.id)
    return message


async def is_readable(database: Database, message: WebMessage) -> bool:
    try:
        await stored.get(database, message.id)
    except NotFound:
        return False
    return True


async def in_doubt(database: Database) -> int:
    return sum((await stored.count_in_doubt(database, NOW + timedelta(days=9))).values())


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_message_whose_answer_was_lost_becomes_readable(database: Database, settler: PublicationSettler) -> None:
    before = sample("budkavle_settled_messages_total", outcome="found")
    message = await lose_answer(database, to_case("å\n€ 😀", sender_user_id="joe01doe"), arrives=True)
    assert await settler.run_once() == 1
    assert await is_readable(database, message)
    assert await settler.run_once() == 0
    assert sample("budkavle_settled_messages_total", outcome="found") == before + 1


async def test_message_that_never_arrived_is_deleted_when_it_can_no_longer_arrive(
    database: Database, settler: PublicationSettler, clock: Clock
) -> None:
    await lose_answer(database, to_case(), arrives=False)
    while clock.time <= NOW + TIMES.until_absent:
        await settler.run_once()
        assert await in_doubt(database) == 1 or clock.time == NOW + TIMES.until_absent
        clock.time += SECOND
    assert await in_doubt(database) == 0


async def test_message_that_arrives_late_is_found(
    database: Database, settler: PublicationSettler, clock: Clock
) -> None:
    message = await lose_answer(database, to_case(), arrives=False)
    await settler.run_once()
    clock.time = NOW + TIMES.longest_call
    await settler.run_once()
    publish(message)
    clock.time = NOW + TIMES.until_absent
    await settler.run_once()
    assert await is_readable(database, message)


@pytest.mark.parametrize("skew", [-20, 20])
async def test_clock_difference_up_to_the_margin_loses_no_message(
    database: Database, settler: PublicationSettler, clock: Clock, skew: int
) -> None:
    """The process that sent the message had another clock, and its call took the longest possible time."""
    sent = NOW + skew * SECOND
    message = await lose_answer(database, to_case(), sent, arrives=False)
    clock.time = NOW
    while clock.time < NOW + TIMES.longest_call:
        await settler.run_once()
        clock.time += SECOND
    publish(message, sent)
    await settler.run_once()
    clock.time += LONGEST_BACKOFF
    await settler.run_once()
    assert await is_readable(database, message)


async def test_left_over_message_is_settled_once_its_call_must_have_ended(
    database: Database, settler: PublicationSettler, clock: Clock
) -> None:
    message = to_case()
    await stored.begin_sending(database, message, NOW)
    publish(message)
    clock.time = NOW + TIMES.longest_call
    assert await settler.run_once() == 0
    clock.time += SECOND
    assert await settler.run_once() == 1
    assert await is_readable(database, message)


async def test_readable_messages_wake_the_worker(
    database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE
) -> None:
    del open_e
    woken: list[None] = []
    settler = new_settler(database, clock, read_backs.read_case, lambda: woken.append(None))
    await lose_answer(database, to_case(case=7), arrives=False)
    await settler.run_once()
    assert not woken
    await lose_answer(database, to_case(), arrives=True)
    await settler.run_once()
    assert len(woken) == 1


@pytest.mark.parametrize("fault", ["Http500", "Http403", "Garbage", "TruncatedXml", "Reset", "Slow"])
async def test_failed_read_backs_leave_the_message_in_doubt_and_are_logged_once(
    database: Database, settler: PublicationSettler, clock: Clock, open_e: MockOpenE, logs: list[Any], fault: Any
) -> None:
    message = await lose_answer(database, to_case(), arrives=True)
    open_e.fail(fault, times=None, seconds=60, operation="messageapi")
    before = sample("budkavle_open_e_read_backs_total", open_e="external", outcome="failed")
    reads = 0
    while clock.time < NOW + timedelta(minutes=8):
        reads += await settler.run_once()
        clock.time += 2 * SECOND
    assert await in_doubt(database) == 1
    open_e.clear_faults()
    clock.time += LONGEST_BACKOFF
    await settler.run_once()
    assert await is_readable(database, message)
    assert 10 <= reads <= 14
    assert sample("budkavle_open_e_read_backs_total", open_e="external", outcome="failed") == before + reads
    assert [each["event"] for each in logs] == ["read_back_failed", "read_back_recovered", "message_settled"]
    assert "Hej" not in str(logs)


async def test_case_of_an_instance_without_address_stays_in_doubt(
    database: Database, clock: Clock, logs: list[Any]
) -> None:
    calls = ReadBacks(MessageApi({}, timeout=8, threads=1), threads=1)
    settler = new_settler(database, clock, calls.read_case)
    await stored.begin_sending(database, to_case(), NOW)
    clock.time = NOW + timedelta(days=1)
    for _ in range(10):
        await settler.run_once()
        clock.time += LONGEST_BACKOFF
    assert await in_doubt(database) == 1
    assert [each["detail"] for each in logs] == ["The external Open-E is not configured"]
    calls.close()


async def test_open_e_that_answers_again_settles_what_waits(
    database: Database, settler: PublicationSettler, clock: Clock, open_e: MockOpenE
) -> None:
    """Settled within the longest call and 40 seconds after Open-E answers."""
    for case in range(1, 11):
        await lose_answer(database, to_case(case=case), arrives=case % 2 == 0)
    open_e.fail("Http500", times=None, operation="messageapi")
    while clock.time < NOW + timedelta(minutes=5):
        await settler.run_once()
        clock.time += 3 * SECOND
    open_e.clear_faults()
    again = clock.time
    while await in_doubt(database):
        await settler.run_once()
        clock.time += SECOND
    assert clock.time - again <= TIMES.timeout + 40 * SECOND


@pytest.mark.parametrize("count", [2, 3])
async def test_processes_that_settle_together_settle_everything_once(
    database: Database, database_url: str, read_backs: ReadBacks, clock: Clock, open_e: MockOpenE, count: int
) -> None:
    others = [open_database(database_url) for _ in range(count - 1)]
    settlers = [new_settler(each, clock, read_backs.read_case) for each in (database, *others)]
    messages = [
        await lose_answer(database, to_case(case=1 + number % 5), NOW + number * SECOND, arrives=number % 3 > 0)
        for number in range(30)
    ]
    for second in range(120):
        clock.time = NOW + second * SECOND
        await asyncio.gather(*(each.run_once() for each in settlers))
    readable = [message for message in messages if await is_readable(database, message)]
    assert len(readable) == len(open_e.messages) == 20
    assert await in_doubt(database) == 0
    for other in others:
        await other.close()


async def test_equal_message_of_another_sender_is_counted_as_undecidable(
    database: Database, settler: PublicationSettler, open_e: MockOpenE
) -> None:
    before = sample("budkavle_settled_messages_total", outcome="undecidable")
    open_e.plant(1068, "Hej", added=f"{NOW:%Y-%m-%dT%H:%M:%S}", kind="manager")
    message = await lose_answer(database, to_case(), arrives=True)
    await settler.run_once()
    assert await is_readable(database, message)
    assert sample("budkavle_settled_messages_total", outcome="undecidable") == before + 1


async def test_settle_reads_the_case_of_one_message_at_once(
    database: Database, settler: PublicationSettler, clock: Clock
) -> None:
    message = await lose_answer(database, to_case(), arrives=False)
    other = await lose_answer(database, to_case(case=7), arrives=True)
    await settler.settle(message.id)
    publish(message)
    await settler.settle(message.id)
    assert not await is_readable(database, message)
    clock.time += 2 * SECOND
    await settler.settle(message.id)
    assert await is_readable(database, message)
    assert not await is_readable(database, other)
    await settler.settle(message.id)
    await settler.settle("81471222-5798-11e9-ae24-57fa13b361e1")


async def test_loop_settles_while_one_instance_hangs(
    database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE
) -> None:
    del open_e
    hangs = asyncio.Event()
    readable = asyncio.Event()

    async def read(case: Case, since: datetime) -> Sequence[CaseMessage]:
        if case.open_e == OepInstance.INTERNAL:
            hangs.set()
            await asyncio.Event().wait()
        return await read_backs.read_case(case, since)

    rules = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(milliseconds=5))
    settler = new_settler(database, clock, read, readable.set, rules)
    for case in range(1, 200):
        await lose_answer(database, to_case(case=case, oep_instance=OepInstance.INTERNAL), arrives=False)
    async with started(settler), asyncio.timeout(30):
        await hangs.wait()
        message = await lose_answer(database, to_case(), NOW + SECOND, arrives=True)
        await readable.wait()
    assert await is_readable(database, message)


async def test_loop_settles_more_cases_than_one_search_returns(
    database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE
) -> None:
    del open_e
    settled: list[None] = []
    is_done = asyncio.Event()

    def count() -> None:
        settled.append(None)
        if len(settled) == 100:
            is_done.set()

    # The second search begins at once, not after the interval.
    rules = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(seconds=6))
    for case in range(1, 101):
        await lose_answer(database, to_case(case=case), arrives=True)
    async with started(new_settler(database, clock, read_backs.read_case, count, rules)), asyncio.timeout(12):
        await is_done.wait()
    assert await in_doubt(database) == 0


async def test_loop_waits_for_the_interval_while_no_case_can_be_claimed(
    database: Database, clock: Clock, read_backs: ReadBacks, logs: list[Any]
) -> None:
    for case in range(1, MAX_CASES + 2):
        await lose_answer(database, to_case(case=case), arrives=False)

    @short_write
    def break_claims(connection: sa.Connection) -> None:
        statement = "create trigger broken before insert on settlements begin select raise(abort, 'broken'); end"
        if connection.dialect.name == "postgresql":
            statement = "alter table settlements add constraint broken check (due is null) not valid"
        connection.execute(sa.text(statement))

    await database.write(break_claims)
    rules = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(seconds=1))
    calls = 0
    has_searched_thrice = asyncio.Event()

    def count_calls() -> datetime:
        # One call for each search, and one for each claim.
        nonlocal calls
        calls += 1
        if calls == 3 * (1 + MAX_CASES):
            has_searched_thrice.set()
        return clock()

    began = time.monotonic()
    async with started(new_settler(database, count_calls, read_backs.read_case, rules=rules)), asyncio.timeout(30):
        await has_searched_thrice.wait()
    # Without the interval, the second and third search begin at once.
    assert time.monotonic() - began >= 3
    assert {each["event"] for each in logs} == {"settling_failed"}


async def test_loop_logs_an_interrupted_and_a_working_database_once(
    database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE, logs: list[Any]
) -> None:
    del open_e
    await lose_answer(database, to_case(), arrives=True)
    readable = asyncio.Event()
    failed = 0

    async def read(case: Case, since: datetime) -> Sequence[CaseMessage]:
        nonlocal failed
        clock.time += LEASE
        failed += 1
        if failed <= 3:
            # The search works, but a write of the case fails.
            raise StorageFailed("disk full")
        return await read_backs.read_case(case, since)

    rules = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(milliseconds=5))
    async with started(new_settler(database, clock, read, readable.set, rules)), asyncio.timeout(30):
        await readable.wait()
    events = [each["event"] for each in logs if each["event"] != "message_settled"]
    assert events == ["settling_interrupted", "settling_resumed"]


async def test_loop_survives_errors(
    database: Database, clock: Clock, read_backs: ReadBacks, open_e: MockOpenE, logs: list[Any]
) -> None:
    del open_e
    readable = asyncio.Event()
    errors: list[Exception] = [RuntimeError("a bug"), BackendFailed("no")]

    async def read(case: Case, since: datetime) -> Sequence[CaseMessage]:
        if errors:
            clock.time += LEASE
            raise errors.pop(0)
        return await read_backs.read_case(case, since)

    rules = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(milliseconds=5))
    await lose_answer(database, to_case(), arrives=True)
    async with started(new_settler(database, clock, read, readable.set, rules)), asyncio.timeout(30):
        while not readable.is_set():
            clock.time += SECOND
            await asyncio.wait([asyncio.create_task(readable.wait())], timeout=0.005)
    assert {each["event"] for each in logs} == {
        "settling_failed",
        "read_back_failed",
        "read_back_recovered",
        "message_settled",
    }
