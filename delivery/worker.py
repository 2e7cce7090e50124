"""The worker: claims due deliveries, calls the receivers and stores the outcomes.

A claim is a lease. If a worker dies, its deliveries become due again when the lease ends, so nothing is lost;
deliveries that were sent but not yet settled are then sent again (at-least-once). Source: decision 0011.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from delivery import metrics
from delivery.windows import Windows
from domain.deliveries import (
    MAX_STORED_RESPONSE,
    Attempt,
    AttemptOutcome,
    ClaimedDelivery,
    DeliveredRequest,
    DeliveryState,
    ReceiverResponse,
    Target,
    decide_outcome,
    determine_state_after,
    retry_delay,
)
from domain.errors import StorageFailed
from domain.retention import DataKind, Removal, RemovalRun, RetentionRule
from domain.tracing import SpanKind, Tracer, trace_work
from persistence import delivery_pauses, operator_events, removal_counts
from persistence.database import Database
from persistence.queue import back_offs, claims, due_deliveries, housekeeping, receipts
from persistence.queue.claims import Lease, SettledAttempt
from persistence.queue.due_deliveries import DueDelivery, LookMemory
from persistence.queue.housekeeping import FIRST_EVENT
from persistence.repeated_work import FailureLog, run_repeatedly

log = structlog.get_logger("budkavle.deliveries")

POLL_SECONDS = 0.05
"""Seconds between polls of the queue without a wake-up."""

IDLE_POLL_SECONDS = 1.0
"""Seconds between polls while nothing is due and the database wakes the worker for new deliveries."""

HOUSEKEEPING_SECONDS = 30
PRUNED_AT_ONCE = 1000
"""Old events that one transaction considers, and old receipts that it deletes."""
REMOVAL_INTERVAL = timedelta(minutes=10)
"""Time between two removals of old receipts. The audit then gets their number, and that of events removed meanwhile."""
KEPT_PAGES = 10
"""Maximum transactions without any event to delete, per run."""
PULLED_AT_ONCE = 500
MOST_FAILURES = 10
"""Maximum failures that are counted for back-off."""

MOST_LOOKS = 50
"""Maximum polls per turn.

A turn polls again if it found only deliveries to set aside behind others of their key, or none of the systems that the
poll reached.
"""

AFTER_FAILURE_SECONDS = (0.1, 1.0)
"""The shortest and the longest delay after a failed turn. The delay doubles with each consecutive failure."""


class DeliveryClient(Protocol):
    """The HTTP client of a worker."""

    async def send(self, claimed: ClaimedDelivery, now: datetime) -> ReceiverResponse:
        """Make one attempt and return its result. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker: concurrency in total and per receiver, duration of a lease, retention."""

    concurrency: int = 200
    receiver_concurrency: int = 100
    lease: timedelta = timedelta(seconds=30)
    event_retention: timedelta = timedelta(hours=24)
    receipt_retention: timedelta = timedelta(days=90)


class Worker:
    """One of any number of workers. `holder` is its unique name in leases."""

    def __init__(
        self,
        database: Database,
        calls: DeliveryClient,
        limits: Limits,
        *,
        holder: str,
        now: Callable[[], datetime],
        new_event_id: Callable[[], str] | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        self._database = database
        self._calls = calls
        self._tracer = tracer
        self._limits = limits
        self._holder = holder
        self._now = now
        # None if no events are sent to operators.
        self._new_event_id = new_event_id
        # Systems whose last attempt failed, each with the delivery of its first failure in a row.
        self.failed: dict[str, int] = {}
        self._chance = chance
        self._windows = Windows(limits.concurrency, limits.receiver_concurrency, chance=chance)
        self._clock = clock
        self._memory = LookMemory()
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._finished: list[SettledAttempt] = []
        # Numbers of deliveries in a claim that failed; the database may have committed it.
        self._uncertain: set[int] = set()
        # Delays that receivers requested and that are not stored yet.
        self._requested_delays: dict[Target, datetime] = {}
        # Recovered targets, each with the time from which its waiting deliveries are made due.
        self._recovered: dict[Target, datetime] = {}
        # The last old event that was considered for deletion.
        self._pruned = FIRST_EVENT
        self._receipts_due = FIRST_EVENT.created
        self._removals: RemovalRun | None = None
        self._failures = 0
        self._backing_off: Counter[str] = Counter()
        self._woken = asyncio.Event()
        self._saw_none_due = False
        self._is_polling = False
        self._is_stopping = False

    async def run_once(self, now: datetime) -> int:
        """Settle finished attempts and start due deliveries. Return the number of attempts started.

        Raises `StorageFailed`. No result is lost in that case.
        """
        lease = Lease(self._holder, now, now + self._limits.lease)
        # Run both concurrently: they are independent and both wait for the database. A cancellation ends both, and is
        # not replaced by an error that one of them raises at the same moment.
        settled, started = await asyncio.gather(self._settle(lease), self._start(lease), return_exceptions=True)
        if isinstance(settled, BaseException):
            raise settled
        if isinstance(started, BaseException):
            raise started
        return started

    async def finish(self) -> None:
        """Wait for all running attempts and settle them."""
        while self._under_way or self._finished or self._recovered:
            if self._under_way:
                await asyncio.wait(self._under_way.values())
            now = self._now()
            await self._settle(Lease(self._holder, now, now + self._limits.lease))

    async def run_forever(self) -> None:
        """Work until `stop` is called, then finish the running attempts."""
        housekeeping = asyncio.create_task(self._run_housekeeping())
        try:
            async with self._database.watch_deliveries(self._woken.set) as is_watched:
                self._is_polling = True
                while not self._is_stopping:
                    self._woken.clear()
                    await self._run_turn()
                    await self._rest(is_watched)
            while self._under_way or self._finished or self._uncertain:
                await self._run_turn()
                if self._under_way or self._finished:
                    await asyncio.wait(
                        [*self._under_way.values(), asyncio.create_task(asyncio.sleep(POLL_SECONDS))],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
        finally:
            self._is_polling = False
            housekeeping.cancel()
            for task in self._under_way.values():
                task.cancel()

    def wake(self, *, is_certain: bool = True) -> None:
        """Poll the queue now. If this worker does not run, wake those of other processes, as `notify_workers` does."""
        if self._is_polling:
            self._woken.set()
        else:
            self._database.notify_workers(is_certain=is_certain)

    def stop(self) -> None:
        """Start no more deliveries."""
        self._is_stopping = True
        self._is_polling = False
        self._woken.set()

    async def _rest(self, is_watched: Callable[[], bool]) -> None:
        """Wait for a wake-up or the next poll. While the worker is idle, only ask when the next delivery is due."""
        seconds = POLL_SECONDS
        while not await self._is_woken_within(seconds) and self._is_idle() and is_watched():
            try:
                due = await due_deliveries.find_next_due(self._database, self._now())
            except StorageFailed:
                # The next turn reports it.
                return
            except Exception:
                # The worker must survive it, as in a turn. Until it is repaired, the worker polls once a second.
                log.exception("next_due_query_failed")
                await self._is_woken_within(IDLE_POLL_SECONDS)
                return
            until_due = IDLE_POLL_SECONDS if due is None else (due - self._now()).total_seconds()
            if until_due <= 0:
                return
            seconds = min(until_due, IDLE_POLL_SECONDS)

    async def _is_woken_within(self, seconds: float) -> bool:
        # In Python 3.11 `wait_for` loses a cancellation that arrives together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        return self._woken.is_set()

    def _is_idle(self) -> bool:
        """Return whether only a wake-up or the time can give the worker something to do."""
        has_work = self._finished or self._uncertain or self._requested_delays or self._recovered or self._backing_off
        return self._saw_none_due and not has_work

    async def _run_turn(self) -> None:
        try:
            await self.run_once(self._now())
        except StorageFailed as exc:
            log.error("queue_access_failed", reason=exc.reason, detail=exc.explanation or None)  # noqa: TRY400  # A trace adds nothing to the reason.
        except Exception:
            # Results are kept until they are settled, and deliveries that may have been claimed are released.
            log.exception("worker_turn_failed")
        else:
            self._failures = 0
            return
        shortest, longest = AFTER_FAILURE_SECONDS
        await asyncio.sleep(min(longest, shortest * 2**self._failures))
        self._failures = min(self._failures + 1, MOST_FAILURES)

    async def _attempt_delivery(self, item: ClaimedDelivery) -> None:
        started, moment = time.perf_counter(), self._now()
        answer = await self._send(item, moment)
        seconds = time.perf_counter() - started
        outcome = decide_outcome(answer)
        text = answer.body if answer.status is not None else answer.detail[:MAX_STORED_RESPONSE]
        attempt = Attempt(item.attempts + 1, moment, round(seconds * 1000), answer.status, answer.reason, text)
        now = self._now()
        # A target that rejects a delivery works: it responds.
        is_retried = determine_state_after(outcome) is DeliveryState.WAITING
        due = now + retry_delay(attempt.number, self._chance(), answer.retry_after) if is_retried else None
        del self._under_way[item.number]
        hash_ = answer.request_hash
        delivered = None if hash_ is None else DeliveredRequest(item.webhook_url, hash_)
        self._finished.append(SettledAttempt(item.number, outcome, attempt, due, delivered))
        target = Target(item.receiver.system_id, item.webhook_url)
        if is_retried and answer.retry_after:
            until = now + timedelta(seconds=answer.retry_after)
            self._requested_delays[target] = max(until, self._requested_delays.get(target, until))
        if is_retried:
            self.failed.setdefault(target.system_id, item.number)
        else:
            self.failed.pop(target.system_id, None)
        is_done = outcome is AttemptOutcome.DONE
        if self._windows.record_end(item.number, self._clock(), is_well=not is_retried, is_done=is_done):
            self._recovered[target] = now
        metrics.count_attempt(answer, outcome, seconds, (now - item.created).total_seconds())
        log.info(
            "delivery_attempted",
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

    async def _send(self, item: ClaimedDelivery, moment: datetime) -> ReceiverResponse:
        """Make one attempt, as a span of the trace in which the event was published."""
        if self._tracer is None:
            return await self._calls.send(item, moment)
        with trace_work(self._tracer, "deliver event", SpanKind.CLIENT, item.trace_parent) as work:
            answer = await self._calls.send(replace(item, trace_parent=work.trace_parent), moment)
            work.attributes |= {
                "http.request.method": "POST",
                "http.response.status_code": answer.status,
                "messaging.message.id": item.event_id,
                "budkavle.delivery_id": item.id,
                "budkavle.system_id": item.receiver.system_id,
                "budkavle.attempt": item.attempts + 1,
                "budkavle.outcome": str(decide_outcome(answer)),
            }
            work.error = str(answer.status or answer.reason) if answer.reason is not None else None
        return answer

    def _report_backing_off(self) -> None:
        backing_off = self._windows.count_backing_off(self._clock())
        if backing_off != self._backing_off:
            self._backing_off = backing_off
            metrics.set_backing_off(backing_off)

    async def _start(self, lease: Lease) -> int:
        self._report_backing_off()
        self._saw_none_due = False
        if self._uncertain:
            await self._release(lease)
        # Results that cannot be settled must not accumulate without a limit.
        if self._is_stopping or len(self._finished) > self._limits.concurrency:
            return 0
        for _ in range(MOST_LOOKS):
            moment = self._clock()
            room = self._windows.get_room(moment)
            seen = await due_deliveries.look(self._database, lease.now, room, self._memory)
            self._saw_none_due = not seen and room.free > 0
            known = self._list_known_numbers()
            # A delivery whose lease ended while its attempt is still running keeps its slot.
            chosen = [each for each in self._windows.choose(seen, moment) if each.number not in known]
            self._memory.fills_slots = 2 * len(chosen) >= room.free
            behind = [each.number for each in seen if each.is_behind]
            if not chosen and not behind:
                # Without a free slot, further looks would return the same urgent deliveries.
                if not self._memory.is_partial or not room.free:
                    break
                continue
            claimed, set_aside = await self._claim(lease, [each.number for each in chosen], behind)
            if chosen or not set_aside:
                return self._begin(chosen, claimed)
        return 0

    async def _claim(self, lease: Lease, chosen: list[int], behind: list[int]) -> tuple[list[ClaimedDelivery], int]:
        self._uncertain.update(chosen)
        claimed, set_aside = await claims.claim(self._database, lease, chosen, behind)
        self._uncertain.difference_update(chosen)
        return claimed, set_aside

    def _begin(self, chosen: list[DueDelivery], claimed: list[ClaimedDelivery]) -> int:
        items = {item.number: item for item in claimed}
        for seen in chosen:
            item = items.get(seen.number)
            if item is not None:
                self._windows.record_start(seen, self._clock(), is_test=self._windows.has_test_slot(seen))
                self._under_way[item.number] = asyncio.create_task(self._attempt_delivery(item))
        metrics.set_under_way(len(self._under_way))
        return len(items)

    def _list_known_numbers(self) -> set[int]:
        return self._under_way.keys() | {item.number for item in self._finished}

    async def _release(self, lease: Lease) -> None:
        """Release deliveries of claims whose outcome is unknown."""
        numbers = self._uncertain - self._list_known_numbers()
        if numbers:
            numbers = await claims.release(self._database, lease, numbers)
        self._uncertain = numbers

    async def _settle(self, lease: Lease) -> None:
        if self._requested_delays:
            # Store the delays before any worker can claim deliveries of these targets again.
            storing, self._requested_delays = self._requested_delays, {}
            try:
                await back_offs.store_back_offs(self._database, storing)
            except BaseException:
                self._requested_delays = storing | self._requested_delays
                raise
        if self._finished:
            await self._settle_ended(lease)
        if self._recovered:
            await self._pull_forward()

    async def _pull_forward(self) -> None:
        """Make waiting deliveries of recovered targets due soon. Most targets have none."""
        recovered, self._recovered = self._recovered, {}
        try:
            waiting = await back_offs.find_waiting(self._database, recovered, PULLED_AT_ONCE)
            for target, start in list(recovered.items()):
                if target in waiting:
                    number, following = await back_offs.pull_forward(self._database, target, start, PULLED_AT_ONCE)
                    if number == PULLED_AT_ONCE:
                        self._recovered.setdefault(target, following)
                del recovered[target]
        except BaseException:
            self._recovered = recovered | self._recovered
            raise

    async def _settle_ended(self, lease: Lease) -> None:
        settling = list(self._finished)
        remaining = await claims.settle(self._database, lease, settling, self._new_event_id)
        stored = {item.number for item in settling} - remaining
        self._finished = [item for item in self._finished if item.number not in stored]

    async def _end_delivery_pauses(self, now: datetime) -> None:
        for pause in await delivery_pauses.remove_ended(self._database, now, self._new_event_id):
            identity = None if pause.identity is None else "/".join(map(str, pause.identity))
            log.info("delivery_pause_ended", system=pause.system_id, subscription=identity)

    async def _prune_operator_events(self, now: datetime) -> None:
        given_up = await operator_events.prune(self._database, now)
        if given_up and self._new_event_id is not None:
            log.warning("operator_events_given_up", number=given_up)

    async def _remove_old(self, now: datetime) -> None:
        """Delete old events, and receipts when they are due. The audit then gets the numbers of both.

        A run that has no entry when the worker stops gets it from a later one.
        """
        run = self._removals = self._removals or RemovalRun(now)
        await self._prune_events(now, run)
        if now < self._receipts_due:
            return
        self._receipts_due, self._removals = now + REMOVAL_INTERVAL, None
        async with removal_counts.recording(self._database, run):
            await self._prune_receipts(now, run)

    async def _prune_events(self, now: datetime, run: RemovalRun) -> None:
        """Delete old events. If many are kept for their deliveries, the next call continues after those."""
        rule = RetentionRule(DataKind.EVENTS, self._limits.event_retention)
        before, removal, kept_pages = now - rule.period, Removal(run, rule), 0
        while kept_pages < KEPT_PAGES:
            number, position = await housekeeping.prune_events(
                self._database, before, self._pruned, PRUNED_AT_ONCE, removal
            )
            self._pruned = position or FIRST_EVENT
            if position is None:
                return
            kept_pages += number == 0

    async def _prune_receipts(self, now: datetime, run: RemovalRun) -> None:
        """Delete old receipts until there are none: a run must keep up with the deliveries of all workers."""
        rule = RetentionRule(DataKind.RECEIPTS, self._limits.receipt_retention)
        before, removal, last = now - rule.period, Removal(run, rule), PRUNED_AT_ONCE
        while last == PRUNED_AT_ONCE:
            last = await receipts.prune_receipts(self._database, before, PRUNED_AT_ONCE, removal)

    async def _run_housekeeping(self) -> None:
        failures = FailureLog(log, "housekeeping_failed", "housekeeping_run_failed", storage_failed_level=logging.ERROR)
        await run_repeatedly(self._keep_house, failures, HOUSEKEEPING_SECONDS)

    async def _keep_house(self) -> None:
        now = self._now()
        released = await housekeeping.release_stuck(self._database, now)
        if released:
            log.warning("stuck_deliveries_released", number=released)
        await back_offs.prune_back_offs(self._database, now)
        await self._end_delivery_pauses(now)
        await self._prune_operator_events(now)
        await self._remove_old(now)
