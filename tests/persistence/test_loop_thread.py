"""A thread with an event loop: it returns the results of its work, and cancels work that no caller waits for."""

import asyncio
import threading

import pytest

from persistence.loop_thread import LoopThread

pytestmark = pytest.mark.anyio


async def do_nothing() -> None:
    pass


async def test_run_returns_or_raises_the_result_of_another_thread() -> None:
    thread = LoopThread("test")

    async def name() -> str:
        return threading.current_thread().name

    async def fail() -> None:
        raise LookupError("of the work")

    assert await asyncio.gather(*(thread.run(name) for _ in range(20))) == ["test"] * 20
    with pytest.raises(LookupError, match="of the work"):
        await thread.run(fail)
    await thread.end(do_nothing)
    assert "test" not in {found.name for found in threading.enumerate()}
    # The thread can be used again.
    assert await thread.run(name) == "test"
    await thread.end(do_nothing)
    await thread.end(do_nothing)


async def test_cancelled_caller_continues_after_its_work() -> None:
    thread = LoopThread("test")
    started, steps = threading.Event(), []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    task = asyncio.create_task(thread.run(work))
    await asyncio.to_thread(started.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["ended"]
    # Also if the work had not begun.
    task = asyncio.create_task(thread.run(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await thread.end(do_nothing)


async def test_computation_in_the_thread_does_not_block_the_caller() -> None:
    thread = LoopThread("test")
    is_free = threading.Event()

    async def compute() -> bool:
        return is_free.wait(30)

    task = asyncio.create_task(thread.run(compute))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    is_free.set()
    assert await task
    await thread.end(do_nothing)
