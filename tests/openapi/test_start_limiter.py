"""A limit of the requests that start in one iteration of the event loop."""

import asyncio

from openapi.start_limiter import STARTS_PER_ITERATION, StartLimiter


async def _list_iterations(count: int, cancelled: frozenset[int] = frozenset()) -> list[int]:
    """Return the iterations in which callers that were not cancelled started, in order."""
    limiter, iteration, started = StartLimiter(), 0, []

    async def wait_for_start() -> None:
        await limiter.wait_for_start()
        started.append(iteration)

    tasks = [asyncio.create_task(wait_for_start()) for _ in range(count)]
    await asyncio.sleep(0)
    for number in cancelled:
        tasks[number].cancel()
    while not all(task.done() for task in tasks):
        iteration += 1
        await asyncio.sleep(0)
    # The limiter is idle again, so the next callers start at once.
    await asyncio.gather(*(limiter.wait_for_start() for _ in range(STARTS_PER_ITERATION)))
    return started


def test_wait_for_start_spreads_callers_over_iterations() -> None:
    started = asyncio.run(_list_iterations(5 * STARTS_PER_ITERATION + 1))
    assert len(started) == 5 * STARTS_PER_ITERATION + 1
    assert started == sorted(started)
    assert max(started.count(iteration) for iteration in started) == STARTS_PER_ITERATION
    assert len(set(started)) == 6


def test_wait_for_start_ignores_cancelled_callers() -> None:
    started = asyncio.run(
        _list_iterations(3 * STARTS_PER_ITERATION, frozenset({STARTS_PER_ITERATION, STARTS_PER_ITERATION + 1}))
    )
    assert len(started) == 3 * STARTS_PER_ITERATION - 2
    assert len(set(started)) == 3


def test_wait_for_start_returns_at_once_for_few_callers() -> None:
    assert set(asyncio.run(_list_iterations(STARTS_PER_ITERATION))) == {0}
