"""A turn by a lock on a file, against another process."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import StorageFailed
from persistence.file_turn import file_turn
from tests.processes import Process, python, running

pytestmark = pytest.mark.anyio

HOLD = """
import fasteners, sys
lock = fasteners.InterProcessLock(sys.argv[1])
print("holds" if lock.acquire(blocking=False) else "held")
sys.stdin.readline()
"""


@contextlib.contextmanager
def held(path: Path) -> Iterator[Process]:
    with running(*python(HOLD), str(path)) as process:
        process.wait_for("holds")
        yield process


async def test_file_turn_waits_for_another_process_and_says_so_once(tmp_path: Path) -> None:
    path, said = tmp_path / "lock", []
    with held(path) as process:

        def waits() -> None:
            said.append("waits")
            process.tell("end")

        async with file_turn(str(path), waits):
            with running(*python(HOLD), str(path)) as other:
                other.wait_for("held")
    assert said == ["waits"]
    with held(path):
        pass


async def test_file_turn_that_is_free_waits_for_nobody(tmp_path: Path) -> None:
    async with file_turn(str(tmp_path / "lock"), pytest.fail):
        pass


async def test_file_turn_lets_the_loop_go_on_and_may_be_given_up(tmp_path: Path) -> None:
    path, waits = tmp_path / "lock", asyncio.Event()

    async def take() -> None:
        async with file_turn(str(path), waits.set):
            pytest.fail("another process has it")

    with held(path):
        task = asyncio.create_task(take())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_file_turn_says_when_there_can_be_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        async with file_turn(str(tmp_path), pytest.fail):
            pass
