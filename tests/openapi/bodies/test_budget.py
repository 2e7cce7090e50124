"""The limit on the bytes of large bodies in progress."""

import asyncio
import base64
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from budkavle.settings import LARGEST_BODY
from conftest import MESSAGES_KEY, RunningService, running_service
from domain.errors import Overloaded
from openapi.bodies.budget import TRIM_BYTES, BodyBudget, Reservation
from tests.factories import build_message_body
from tests.handlers.messages import read_problem
from tests.processes import python, run_program
from tests.raw_http import RawConnection

Run = Callable[[Any], Any]


def test_budget_grants_in_the_order_of_arrival(run: Run) -> None:
    async def work() -> list[str]:
        budget, granted = BodyBudget(10, 60), []

        async def hold(name: str, size: int, until: asyncio.Event) -> None:
            with Reservation(budget) as reservation:
                await reservation.cover(size)
                granted.append(name)
                assert budget.reserved <= 10
                await until.wait()

        events = [asyncio.Event() for _ in range(4)]
        # The small body waits behind the large one, which would otherwise wait for ever.
        sizes = [("first", 6), ("large", 10), ("small", 1), ("last", 9)]
        tasks = [asyncio.create_task(hold(*size, event)) for size, event in zip(sizes, events, strict=True)]
        for event, task in zip(events, tasks, strict=True):
            await asyncio.sleep(0)
            event.set()
            await task
        assert budget.reserved == 0
        return granted

    assert run(work()) == ["first", "large", "small", "last"]


def test_budget_rejects_after_the_maximum_wait(run: Run) -> None:
    async def work() -> None:
        budget = BodyBudget(10, 0.01)
        with Reservation(budget) as first:
            await first.cover(10)
            with pytest.raises(Overloaded), Reservation(budget) as second:
                await second.cover(1)
            assert budget.reserved == 10
        with pytest.raises(Overloaded), Reservation(budget) as third:
            await third.cover(11)
        assert budget.reserved == 0

    run(work())


def test_budget_releases_the_reservation_of_a_cancelled_caller(run: Run) -> None:
    async def work() -> None:
        budget = BodyBudget(10, 60)

        async def hold(size: int) -> None:
            with Reservation(budget) as reservation:
                await reservation.cover(size)
                await asyncio.Event().wait()

        first, second, third = (asyncio.create_task(hold(size)) for size in (10, 8, 2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        # Granted and cancelled in the same turn of the loop.
        first.cancel()
        await asyncio.wait([first, second])
        third.cancel()
        await asyncio.wait([third])
        assert budget.reserved == 0

    run(work())


def test_reservation_grows_by_the_difference(run: Run) -> None:
    async def work() -> None:
        budget = BodyBudget(10, 0.01)
        with Reservation(budget) as reservation:
            for size in (3, 2, 7):
                await reservation.cover(size)
            assert budget.reserved == 7
        assert budget.reserved == 0

    run(work())


def test_memory_is_released_after_the_last_large_body(run: Run) -> None:
    given_back = threading.Event()

    async def work() -> None:
        budget = BodyBudget(4 * TRIM_BYTES, 1, given_back.set)
        with Reservation(budget) as small:
            await small.cover(1)
        with Reservation(budget) as first:
            await first.cover(TRIM_BYTES)
            with Reservation(budget) as second:
                await second.cover(TRIM_BYTES)
            assert not given_back.is_set()

    run(work())
    assert given_back.wait(30)


# A thread frees 40 MB below one block that stays, so that the C library cannot shrink the heap of the thread itself.
FREE_IN_A_THREAD = """
import asyncio, os, threading
from openapi.bodies.budget import trim_memory
from openapi.server.serving import FullCollections

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

kept = []

def work():
    blocks = [bytearray(100_000) for _ in range(400)]
    kept.append(bytearray(100_000))

thread = threading.Thread(target=work)
thread.start()
thread.join()
before = resident()
{trim}
print(before - resident())
"""
COLLECT_ONCE = """
def is_busy():
    collections.stop()
    return False

collections = FullCollections(is_busy, seconds=0.01)
asyncio.run(collections.run())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory and can return it")
@pytest.mark.parametrize("trim", ["trim_memory()", COLLECT_ONCE], ids=["trim_memory", "full collection"])
def test_memory_that_threads_have_freed_is_returned(trim: str) -> None:
    done = run_program(*python(FREE_IN_A_THREAD.replace("{trim}", trim)))
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 30_000_000


@pytest.fixture
def serve(migrated_sqlite: bytes, tmp_path: Path) -> Callable[[float], Any]:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    return lambda seconds: running_service(
        database_url=f"sqlite:///{path}", body_bytes=LARGEST_BODY, body_queue_timeout=seconds
    )


def build_large_body() -> dict[str, Any]:
    data = base64.b64encode(os.urandom(2**20)).decode()
    return build_message_body(attachments=[{"fileName": "a.bin", "base64Data": data}])


def begin_post(service: RunningService, size: int) -> RawConnection:
    """Begin a post of that number of bytes, and send no body."""
    connection = RawConnection(service.port)
    head = (
        b"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: %s\r\nContent-Type: application/json\r\n"
        % MESSAGES_KEY.encode()
    )
    connection.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size)
    assert connection.read_response(has_body=False).status == 100
    return connection


def test_large_bodies_wait_for_each_other(serve: Callable[[float], Any]) -> None:
    with serve(60) as service, ThreadPoolExecutor(1) as callers:
        with begin_post(service, LARGEST_BODY):
            response = callers.submit(service.client.post, "/webmessages", json=build_large_body())
            done, _ = wait([response], timeout=0.3)
            assert not done
            # Small bodies do not wait.
            assert service.client.post("/webmessages", json=build_message_body()).status_code == 201
        assert response.result().status_code == 201


@pytest.mark.parametrize("is_in_chunks", [False, True])
def test_large_body_gets_503_after_the_maximum_wait(serve: Callable[[float], Any], *, is_in_chunks: bool) -> None:
    with serve(0.2) as service, begin_post(service, LARGEST_BODY):
        if is_in_chunks:
            content = iter([b'{"message": "', *[b"x" * 2**16] * 20, b'"}'])
            response = service.client.post(
                "/webmessages", content=content, headers={"Content-Type": "application/json"}
            )
        else:
            response = service.client.post("/webmessages", json=build_large_body())
        assert read_problem(response, 503, "Service Unavailable")["detail"] == str(Overloaded())
        assert response.headers["Retry-After"] == "5"
