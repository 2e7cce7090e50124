"""The clock of the service: on PostgreSQL the clock of the database, independent of this machine's clock."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from budkavle.clock import DatabaseClock, now, read_machine_clock
from openapi.observation.logs import set_up_logs
from persistence import web_messages
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.budkavle.services import KEY, put_key
from tests.budkavle.test_delivering import RunningWorker
from tests.databases import run_with_database
from tests.factories import build_message_body
from tests.held_receiver import held_receiver
from tests.postgresql import PostgresqlServer
from tests.processes import budkavle, run_program, running
from tests.tcp_proxy import TcpProxy, tcp_proxy

HOUR = timedelta(hours=1)
CLOSE = timedelta(minutes=5)
"""More seconds than a test takes on a busy machine, and far fewer than the clocks of these tests differ by."""

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian package faketime)")


@pytest.fixture(autouse=True)
def _all_logs() -> Iterator[None]:
    set_up_logs("json", "info")
    yield
    set_up_logs("json", "error")


class Machine:
    """A machine whose clock differs by `difference` from that of the database."""

    def __init__(self, difference: timedelta = timedelta()) -> None:
        self.difference = difference

    def read(self) -> datetime:
        return read_machine_clock() + self.difference


def read_difference() -> float:
    return REGISTRY.get_sample_value("budkavle_clock_difference_seconds") or 0.0


def is_true(moment: datetime) -> bool:
    return abs(moment - read_machine_clock()) < CLOSE


@pytest.fixture
def proxied(postgresql_server: PostgresqlServer) -> Iterator[tuple[TcpProxy, str]]:
    """Yield a proxy in front of a migrated database, and the URL through it."""
    url = postgresql_server.create_migrated()
    name = url.split("?", maxsplit=1)[0].rpartition("/")[2]
    with tcp_proxy(postgresql_server.socket) as proxy:
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
    postgresql_server.give_back(url)


@pytest.fixture
async def behind(proxied: tuple[TcpProxy, str]) -> AsyncIterator[Database]:
    database = open_database(proxied[1], Waits(pool_timeout=0.2, health_timeout=60))
    yield database
    await database.close()


def test_now_is_aware_and_in_whole_milliseconds() -> None:
    moment = now()
    assert moment.tzinfo is UTC
    assert moment.microsecond % 1000 == 0
    assert is_true(moment)


@pytest.mark.anyio
@on_postgresql
@pytest.mark.parametrize("difference", [HOUR, -HOUR, timedelta(days=400), timedelta(seconds=-5)])
async def test_now_uses_the_database_clock_if_the_machine_differs(database: Database, difference: timedelta) -> None:
    clock = DatabaseClock(database, machine=Machine(difference).read)
    with capture_logs() as lines:
        for _ in range(3):
            await clock.measure()
            moment = clock.now()
            assert moment.microsecond % 1000 == 0
            assert abs(moment - read_machine_clock()) < abs(difference) / 2
    assert read_difference() == pytest.approx(difference.total_seconds(), abs=1)
    # One measurement, at the start.
    ((event, level, seconds),) = [(line["event"], line["log_level"], line["seconds"]) for line in lines]
    assert (event, level) == ("clock_difference_found", "warning")
    assert seconds == pytest.approx(difference.total_seconds(), abs=1)


@pytest.mark.anyio
@on_postgresql
async def test_now_uses_the_machine_clock_if_it_differs_little(database: Database) -> None:
    difference = timedelta(seconds=0.4)
    clock = DatabaseClock(database, machine=Machine(difference).read)
    with capture_logs() as lines:
        await clock.measure()
        earliest = read_machine_clock() + difference
        assert clock.now() >= earliest - timedelta(milliseconds=1)
    assert lines == []
    assert read_difference() == pytest.approx(0.4, abs=0.5)


@pytest.mark.anyio
@on_postgresql
async def test_now_is_correct_when_the_machine_clock_is_set_between_measurements(database: Database) -> None:
    machine = Machine()
    clock = DatabaseClock(database, machine=machine.read)
    with capture_logs() as lines:
        await clock.measure()
        machine.difference = -HOUR
        assert is_true(clock.now())
        assert read_difference() == pytest.approx(-3600, abs=1)
        # The correction remains until a measurement finds almost no difference.
        machine.difference = timedelta(seconds=0.8)
        await clock.measure()
        latest = clock.now()
        assert latest <= read_machine_clock() + timedelta(seconds=0.5)
        machine.difference = timedelta()
        await clock.measure()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("clock_difference_found", "warning"),
        ("clock_difference_ended", "info"),
    ]
    assert read_difference() == pytest.approx(0, abs=0.5)


@pytest.mark.anyio
@on_postgresql
async def test_measure_ignores_a_slow_response(database: Database) -> None:
    readings = 0

    def read_slow_clock() -> float:
        nonlocal readings
        readings += 1
        return readings * 5.0

    clock = DatabaseClock(database, machine=Machine(HOUR).read, monotonic=read_slow_clock)
    with capture_logs() as lines:
        await clock.measure()
    assert lines == []
    assert clock.now() > read_machine_clock() + HOUR - CLOSE


@pytest.mark.anyio
@on_postgresql
async def test_measure_repeats_an_attempt_that_opened_a_connection(database: Database) -> None:
    readings = iter([0.0, 5.0, 5.0, 5.0])
    clock = DatabaseClock(database, machine=Machine(HOUR).read, monotonic=lambda: next(readings, 5.0))
    await clock.measure()
    assert is_true(clock.now())


@pytest.mark.anyio
@on_postgresql
async def test_measure_adds_half_of_the_round_trip(database: Database) -> None:
    await database.read_clock()
    # 0.98 seconds pass while the database responds, which takes much less in reality.
    readings = iter([0.0])
    clock = DatabaseClock(database, monotonic=lambda: next(readings, 0.98))
    await clock.measure()
    assert read_difference() == pytest.approx(-0.49, abs=0.24)


@pytest.mark.anyio
async def test_now_uses_the_last_measurement_while_the_database_is_unavailable(
    proxied: tuple[TcpProxy, str], behind: Database
) -> None:
    proxy, _ = proxied
    clock = DatabaseClock(behind, machine=Machine(HOUR).read)
    proxy.refuse()
    await clock.measure()
    assert not is_true(clock.now())
    proxy.accept()
    await clock.measure()
    proxy.refuse()
    await clock.measure()
    assert is_true(clock.now())
    proxy.accept()


@pytest.mark.anyio
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_now_uses_the_machine_clock_on_sqlite(database: Database) -> None:
    clock = DatabaseClock(database, machine=Machine(HOUR).read)
    await clock.measure()
    assert clock.now() > read_machine_clock() + HOUR - CLOSE


@pytest.mark.anyio
async def test_run_measures_regularly_and_stops_at_once_with_a_silent_database(
    proxied: tuple[TcpProxy, str], behind: Database
) -> None:
    proxy, _ = proxied
    machine = Machine()
    clock = DatabaseClock(behind, machine=machine.read, interval=0.01)
    running_clock = asyncio.create_task(clock.run())
    for difference in (HOUR, -HOUR):
        machine.difference = difference
        async with asyncio.timeout(60):
            while abs(read_difference() - difference.total_seconds()) > 1:  # noqa: ASYNC110  # Another task sets it.
                await asyncio.sleep(0.01)
    proxy.freeze(is_deaf=True)
    # The next measurement has begun.
    await asyncio.sleep(0.1)
    began = time.monotonic()
    clock.stop()
    await running_clock
    assert time.monotonic() - began < 30


@pytest.mark.anyio
async def test_stop_before_run_ends_run(behind: Database) -> None:
    clock = DatabaseClock(behind)
    clock.stop()
    async with asyncio.timeout(30):
        await clock.run()


def set_clock(difference: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command for a machine with a wrong clock. The program `faketime` would not forward signals."""
    return ("env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME={difference}", "DONT_FAKE_MONOTONIC=1", *arguments)


def assert_found(lines: list[str], seconds: int) -> None:
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    (entry,) = [entry for entry in entries if entry["event"].startswith("clock_difference")]
    assert (entry["event"], entry["level"]) == ("clock_difference_found", "warning")
    assert entry["seconds"] == pytest.approx(seconds, abs=1)


@needs_faketime
@on_postgresql
def test_worker_ahead_of_the_database_uses_the_database_clock(database_url: str) -> None:
    arguments = set_clock("+1h", budkavle("worker"))
    with (
        held_receiver(503, is_held=False) as receiver,
        running(*arguments, database_url=database_url, worker_port=0) as process,
    ):
        worker = RunningWorker(process, process.wait_for("The worker listens on "))
        subscribe(database_url, receiver.url)
        publish(database_url)
        while not (waiting := list_queue(database_url)[0]).attempts:
            pass
        assert waiting.due is not None
        assert is_true(waiting.due)
        assert worker.sample("budkavle_clock_difference_seconds") == pytest.approx(3600, abs=1)
        worker.end()
    assert_found(process.err, 3600)


@needs_faketime
@on_postgresql
def test_service_behind_the_database_uses_its_clock_and_delivers_at_once(database_url: str) -> None:
    put_key(database_url)
    arguments = set_clock("-1h", budkavle("serve", "--port", "0", "--with-worker"))
    with (
        held_receiver(is_held=False) as receiver,
        running(*arguments, database_url=database_url) as process,
        httpx.Client(
            base_url=process.wait_for("Budkavle listens on "), timeout=60, trust_env=False, verify=False
        ) as client,
    ):
        subscribe(database_url, receiver.url)
        publish(database_url)
        receiver.wait_for_calls(1)
        created = client.post("/webmessages", json=build_message_body(), headers={"apikey": KEY})
        assert created.status_code == 201
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    message_id = created.headers["location"].rpartition("/")[2]
    message = run_with_database(database_url, lambda database: web_messages.get(database, message_id))
    assert is_true(message.created)
    assert_found(process.err, -3600)


@needs_faketime
@on_postgresql
def test_commands_use_the_database_clock(database_url: str) -> None:
    subscribe(database_url)
    publish(database_url)
    arguments = budkavle("deliveries", "replay", "--state", "waiting")
    result = run_program(*set_clock("+1h", arguments), database_url=database_url)
    assert (result.returncode, result.stdout) == (0, "1 replayed, 0 unchanged\n")
    (waiting,) = list_queue(database_url)
    assert waiting.due is not None
    assert is_true(waiting.due)
