"""The worker: claims what is due, calls the receivers, settles what came of it.

Whatever a worker holds comes back when its lease ends, so that one that dies loses nothing; what it had called but not
settled is then called again. Source: the design, "Delivery".
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from delivery import metrics
from delivery.windows import Windows
from domain.deliveries import MAX_ANSWER, Answer, Attempt, Claimed, Outcome, outcome_of, wait_after
from domain.errors import StorageFailed
from persistence import queue
from persistence.database import Database
from persistence.queue import Found, Lease, Settled

log = structlog.get_logger("budkavle.deliveries")

POLL_SECONDS = 0.05
"""How often a worker looks at the queue when nothing wakes it."""

HOUSEKEEPING_SECONDS = 30
PRUNED_AT_ONCE = 1000
MOST_FAILURES = 10
"""Failed turns that are counted."""

MOST_LOOKS = 50
"""How often a turn looks again when all that it saw had to be set aside, and some of it was."""

AFTER_FAILURE_SECONDS = (0.1, 1.0)
"""The shortest and the longest pause after a turn that failed; it doubles with each that fails."""


class Calls(Protocol):
    """What a worker calls receivers with."""

    async def send(self, claimed: Claimed, now: datetime) -> Answer:
        """What one attempt met. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker does at once, at one receiver too; how long it holds a delivery; how long events are kept."""

    concurrency: int = 200
    receiver_concurrency: int = 100
    lease: timedelta = timedelta(seconds=30)
    event_retention: timedelta = timedelta(hours=24)


class Worker:
    """One of any number of workers. `holder` names it; no other may have the same name."""

    def __init__(
        self,
        database: Database,
        calls: Calls,
        limits: Limits,
        *,
        holder: str,
        now: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._calls = calls
        self._limits = limits
        self._holder = holder
        self._now = now
        self._chance = chance
        self._windows = Windows(limits.receiver_concurrency)
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._ended: list[Settled] = []
        # What a claim may have claimed that failed.
        self._uncertain: set[int] = set()
        self._failures = 0
        self._woken = asyncio.Event()
        self._is_stopping = False

    async def run_once(self, now: datetime) -> int:
        """Settles what has ended and starts what is due; returns how many attempts it started.

        Raises `StorageFailed`; nothing is lost then.
        """
        lease = Lease(self._holder, now, now + self._limits.lease)
        # Side by side: neither needs the other, and both wait for the database.
        settling = asyncio.create_task(self._settle(lease))
        try:
            return await self._start(lease)
        finally:
            await settling

    async def finish(self) -> None:
        """Waits for all that is under way, and settles it."""
        while self._under_way or self._ended:
            if self._under_way:
                await asyncio.wait(self._under_way.values())
            now = self._now()
            await self._settle(Lease(self._holder, now, now + self._limits.lease))

    async def run_forever(self) -> None:
        """Works until `stop`, then finishes what is under way."""
        housekeeping = asyncio.create_task(self._keep_house())
        try:
            while not self._is_stopping:
                self._woken.clear()
                await self._turn()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), POLL_SECONDS)
            while self._under_way or self._ended or self._uncertain:
                await self._turn()
                if self._under_way or self._ended:
                    await asyncio.wait(
                        [*self._under_way.values(), asyncio.create_task(asyncio.sleep(POLL_SECONDS))],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
        finally:
            housekeeping.cancel()
            for task in self._under_way.values():
                task.cancel()

    def wake(self) -> None:
        """Looks at the queue at once."""
        self._woken.set()

    def stop(self) -> None:
        """Starts nothing any more."""
        self._is_stopping = True
        self._woken.set()

    async def _turn(self) -> None:
        try:
            await self.run_once(self._now())
        except StorageFailed as exc:
            log.error("the queue is out of reach", reason=exc.reason)  # noqa: TRY400  # A trace would tell nothing that the reason does not.
        except Exception:
            # Results are kept until they are settled, and what may have been claimed is released.
            log.exception("a turn of the worker failed")
        else:
            self._failures = 0
            return
        shortest, longest = AFTER_FAILURE_SECONDS
        await asyncio.sleep(min(longest, shortest * 2**self._failures))
        self._failures = min(self._failures + 1, MOST_FAILURES)

    async def _attempt(self, item: Claimed) -> None:
        began, moment = time.perf_counter(), self._now()
        answer = await self._calls.send(item, moment)
        seconds = time.perf_counter() - began
        outcome = outcome_of(answer)
        text = answer.body if answer.status is not None else answer.detail[:MAX_ANSWER]
        attempt = Attempt(item.attempts + 1, moment, round(seconds * 1000), answer.status, answer.reason, text)
        due = None
        now = self._now()
        if outcome is Outcome.AGAIN:
            due = now + wait_after(attempt.number, self._chance(), answer.retry_after)
        del self._under_way[item.number]
        self._ended.append(Settled(item.number, outcome, attempt, due))
        self._windows.ended(item.receiver.system_id, seconds, is_well=outcome is not Outcome.AGAIN)
        metrics.attempt_ended(answer, outcome, seconds, (now - item.created).total_seconds())
        log.info(
            "attempt",
            delivery=item.id,
            event_id=item.event_id,
            system=item.receiver.system_id,
            attempt=attempt.number,
            outcome=str(outcome),
            status=answer.status,
            reason=answer.reason and str(answer.reason),
            detail=answer.detail or None,
            milliseconds=attempt.milliseconds,
        )
        self._woken.set()

    async def _start(self, lease: Lease) -> int:
        if self._uncertain:
            await self._release(lease)
        free = self._limits.concurrency - len(self._under_way)
        # What cannot be settled must not grow without bound.
        if free <= 0 or self._is_stopping or len(self._ended) > self._limits.concurrency:
            return 0
        for _ in range(MOST_LOOKS):
            found = await queue.look(self._database, lease.now, self._windows.room(free))
            if not found.chosen and not found.behind:
                break
            claimed, set_aside = await self._claim(lease, found)
            if found.chosen or not set_aside:
                return self._begin(claimed)
        return 0

    async def _claim(self, lease: Lease, found: Found) -> tuple[list[Claimed], int]:
        self._uncertain.update(found.chosen)
        claimed, set_aside = await queue.claim(self._database, lease, found)
        self._uncertain.difference_update(found.chosen)
        return claimed, set_aside

    def _begin(self, claimed: list[Claimed]) -> int:
        # One whose lease ended while its attempt goes on is claimed again, and has not ended all the same.
        known = self._known()
        new = [item for item in claimed if item.number not in known]
        for item in new:
            self._windows.began(item.receiver.system_id)
            self._under_way[item.number] = asyncio.create_task(self._attempt(item))
        metrics.set_under_way(len(self._under_way))
        return len(new)

    def _known(self) -> set[int]:
        return self._under_way.keys() | {item.number for item in self._ended}

    async def _release(self, lease: Lease) -> None:
        """Give back what a claim may have claimed whose answer did not come."""
        numbers = self._uncertain - self._known()
        if numbers:
            numbers = await queue.release(self._database, lease, numbers)
        self._uncertain = numbers

    async def _settle(self, lease: Lease) -> None:
        if not self._ended:
            return
        settling = list(self._ended)
        left = await queue.settle(self._database, lease, settling)
        known = {item.number for item in settling} - left
        self._ended = [item for item in self._ended if item.number not in known]

    async def _keep_house(self) -> None:
        while True:
            now = self._now()
            try:
                released = await queue.release_stuck(self._database, now)
                if released:
                    log.warning("deliveries were left behind and go now", number=released)
                before = now - self._limits.event_retention
                while await queue.prune_events(self._database, before, PRUNED_AT_ONCE) == PRUNED_AT_ONCE:
                    pass
            except StorageFailed as exc:
                log.error("no housekeeping", reason=exc.reason)  # noqa: TRY400  # A trace would tell nothing that the reason does not.
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
