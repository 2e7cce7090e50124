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
from persistence.queue import Lease, Settled

log = structlog.get_logger("budkavle.deliveries")

POLL_SECONDS = 0.05
"""How often a worker looks at the queue when nothing wakes it."""

HOUSEKEEPING_SECONDS = 30
PRUNED_AT_ONCE = 1000
AFTER_FAILURE_SECONDS = 1.0


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
            while self._under_way or self._ended:
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
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
        except Exception:
            # Whatever it was: the queue is as it was, and other deliveries wait.
            log.exception("a turn of the worker failed")
            await asyncio.sleep(AFTER_FAILURE_SECONDS)

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
        free = self._limits.concurrency - len(self._under_way)
        # What cannot be settled must not grow without bound.
        if free <= 0 or self._is_stopping or len(self._ended) > self._limits.concurrency:
            return 0
        claimed = await queue.claim(self._database, lease, self._windows.room(free))
        # One whose lease ended while its attempt goes on is claimed again, and has not ended all the same.
        known = self._under_way.keys() | {item.number for item in self._ended}
        new = [item for item in claimed if item.number not in known]
        if not new:
            return 0
        started = await queue.start(self._database, lease, [item.number for item in new])
        for item in new:
            if item.number in started:
                self._windows.began(item.receiver.system_id)
                self._under_way[item.number] = asyncio.create_task(self._attempt(item))
        metrics.set_under_way(len(self._under_way))
        return len(started)

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
