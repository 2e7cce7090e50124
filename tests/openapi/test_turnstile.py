"""Distribution of requests over turns of the event loop."""

import asyncio

from openapi.turnstile import PER_TURN, Turnstile


async def _turns_of(count: int, cancelled: frozenset[int] = frozenset()) -> list[int]:
    """Return the turns in which the callers passed that were not cancelled, in the order of passing."""
    turnstile, turn, passed = Turnstile(), 0, []

    async def pass_through() -> None:
        await turnstile.pass_through()
        passed.append(turn)

    tasks = [asyncio.create_task(pass_through()) for _ in range(count)]
    await asyncio.sleep(0)
    for number in cancelled:
        tasks[number].cancel()
    while not all(task.done() for task in tasks):
        turn += 1
        await asyncio.sleep(0)
    # The turnstile is idle again, so the next callers pass at once.
    await asyncio.gather(*(turnstile.pass_through() for _ in range(PER_TURN)))
    return passed


def test_concurrent_callers_pass_over_several_turns() -> None:
    passed = asyncio.run(_turns_of(5 * PER_TURN + 1))
    assert len(passed) == 5 * PER_TURN + 1
    assert passed == sorted(passed)
    assert max(passed.count(turn) for turn in passed) == PER_TURN
    assert len(set(passed)) == 6


def test_cancelled_caller_uses_no_slot() -> None:
    passed = asyncio.run(_turns_of(3 * PER_TURN, frozenset({PER_TURN, PER_TURN + 1})))
    assert len(passed) == 3 * PER_TURN - 2
    assert len(set(passed)) == 3


def test_few_callers_pass_at_once() -> None:
    assert set(asyncio.run(_turns_of(PER_TURN))) == {0}
