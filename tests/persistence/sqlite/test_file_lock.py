"""A turn that is guarded by a lock on a file, against another process."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import StorageFailed
from persistence.sqlite.file_lock import hold_file_lock
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


async def test_hold_file_lock_waits_for_another_process_and_logs_it_once(tmp_path: Path) -> None:
    path, events = tmp_path / "lock", []
    with held(path) as process:

        def waits() -> None:
            events.append("waits")
            process.write_line("end")

        async with hold_file_lock(str(path), waits):
            with running(*python(HOLD), str(path)) as other:
                other.wait_for("held")
    assert events == ["waits"]
    with held(path):
        pass


async def test_hold_file_lock_acquires_a_free_lock_at_once(tmp_path: Path) -> None:
    async with hold_file_lock(str(tmp_path / "lock"), pytest.fail):
        pass


async def test_hold_file_lock_does_not_block_the_loop_and_can_be_cancelled(tmp_path: Path) -> None:
    path, waits = tmp_path / "lock", asyncio.Event()

    async def take() -> None:
        async with hold_file_lock(str(path), waits.set):
            pytest.fail("another process has it")

    with held(path):
        task = asyncio.create_task(take())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_hold_file_lock_reports_an_impossible_file(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        async with hold_file_lock(str(tmp_path), pytest.fail):
            pass
