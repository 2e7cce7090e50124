"""Settle messages in doubt: read their cases back from Open-E, and record what is there (decision 0026).

Every process that serves requests runs a settler. The database decides which process works on a case, so a process may
end at any moment: the others continue when its lease has ended.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby

import structlog
from prometheus_client import Counter

from domain.errors import BackendFailed, StorageFailed
from domain.publications import Case, CaseMessage, SettlingRules
from domain.web_messages import OpenEName
from persistence import publication_decisions as decisions
from persistence import publications as stored
from persistence.database import Database
from persistence.publications import DueCase, ReadBack, SettledCase

CONCURRENT_CASES = 4
"""Cases of one Open-E that are read back concurrently by one process."""

MAX_CASES = 64
"""Maximum cases of one search for cases in doubt."""

LONGEST_BACKOFF = timedelta(seconds=60)
"""Maximum time until a case is read again after failures. It doubles from the interval."""

CLEANING_SECONDS = 3600
"""Seconds between two removals of old traces and claims."""

FOUND, NOT_PUBLISHED, UNDECIDABLE = "found", "not_published", "undecidable"
OUTCOMES = (FOUND, NOT_PUBLISHED, UNDECIDABLE)

_settled = Counter("budkavle_settled_messages", "Messages in doubt that were settled, by outcome.", ("outcome",))
# Create all series at start, so that the first increment is visible.
for _outcome in OUTCOMES:
    _settled.labels(_outcome)

log = structlog.get_logger("budkavle.settler")

ReadCase = Callable[[Case, datetime], Awaitable[Sequence[CaseMessage]]]
"""Returns the messages of a case since a moment. Raises `BackendFailed`."""


class PublicationSettler:
    """Settles the messages in doubt of a database. `start` it in the event loop, and `close` it before the database.

    `on_readable` is called after messages became readable. A lease must be longer than a call of `read_case`.
    """

    def __init__(
        self,
        database: Database,
        read_case: ReadCase,
        *,
        rules: SettlingRules,
        lease: timedelta,
        now: Callable[[], datetime],
        on_readable: Callable[[], None],
    ) -> None:
        self._database = database
        self._read_case = read_case
        self._rules = rules
        self._lease = lease
        self._now = now
        self._on_readable = on_readable
        self._capacity: defaultdict[OpenEName, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(CONCURRENT_CASES)
        )
        self._batches: dict[OpenEName, asyncio.Task[int]] = {}
        self._has_more = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._is_failing = False

    def start(self) -> None:
        """Settle messages in the background until `close`."""
        self._loop = asyncio.create_task(self._run_forever())

    async def close(self) -> None:
        """Stop. What was not recorded yet is settled again later."""
        tasks = [task for task in (self._loop, *self._batches.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def run_once(self) -> int:
        """Settle all cases that are due, and return their number. Raises `StorageFailed`."""
        cases = await stored.list_due_cases(self._database, self._now(), self._rules, MAX_CASES)
        return sum(await asyncio.gather(*(self._settle_all(group) for _, group in _group(cases))))

    async def settle(self, message_id: str) -> None:
        """Settle the case of a message in doubt now, unless it was read just before. Raises `StorageFailed`."""
        case = await stored.find_case(self._database, message_id, self._now() - self._rules.times.longest_call)
        if case is not None and not self._capacity[case.case.open_e].locked():
            await self._settle_case(case)

    async def _run_forever(self) -> None:
        next_cleaning = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rules.interval.total_seconds()):
                    await self._has_more.wait()
            try:
                self._has_more.clear()
                await self._begin_batches()
                if time.monotonic() >= next_cleaning:
                    next_cleaning = time.monotonic() + CLEANING_SECONDS
                    await decisions.remove_old(self._database, self._now())
            except StorageFailed as exc:
                self._note_database(exc)
            except Exception:
                log.exception("settling_failed")

    async def _begin_batches(self) -> None:
        """Start to settle the cases that are due, of each Open-E on which no earlier batch works.

        A slow Open-E therefore does not delay the cases of others.
        """
        busy = [open_e for open_e, batch in self._batches.items() if not batch.done()]
        cases = await stored.list_due_cases(self._database, self._now(), self._rules, MAX_CASES, busy)
        if not cases and not busy:
            self._note_database(None)
        for open_e, group in _group(cases):
            batch = self._batches[open_e] = asyncio.create_task(self._settle_all(group))
            if len(cases) == MAX_CASES:
                batch.add_done_callback(self._continue_at_once)

    def _continue_at_once(self, batch: asyncio.Task[int]) -> None:
        """Search again without waiting for the interval, unless no case of the batch could be settled."""
        if not batch.cancelled() and batch.result():
            self._has_more.set()

    async def _settle_all(self, cases: Sequence[DueCase]) -> int:
        """Settle cases, and return how many of them. A case that fails for any reason does not affect the others."""
        return sum(await asyncio.gather(*(self._try_to_settle(case) for case in cases)))

    async def _try_to_settle(self, due: DueCase) -> bool:
        try:
            is_settled = await self._settle_case(due)
        except StorageFailed as exc:
            self._note_database(exc)
        except Exception:
            log.exception("settling_failed", **_describe(due.case))
        else:
            self._note_database(None)
            return is_settled
        return False

    async def _settle_case(self, due: DueCase) -> bool:
        """Read a case back and record the outcomes, unless another process does. Return whether this was done."""
        async with self._capacity[due.case.open_e]:
            failures = await stored.claim(self._database, due.case, self._now(), self._lease)
            if failures is None:
                return False
            begun = self._now()
            try:
                messages = await self._read_case(due.case, due.since)
            except BackendFailed as exc:
                wait = min(self._rules.interval * 2 ** min(failures, 16), LONGEST_BACKOFF)
                await stored.record_failure(self._database, due.case, self._now() + wait)
                if not failures:
                    log.warning("read_back_failed", detail=str(exc), reason=exc.reason, **_describe(due.case))
                return True
            read_back = ReadBack(begun, due.since, messages)
            settled = await stored.settle_case(self._database, due.case, read_back, self._now(), self._rules)
        if settled is not None:
            self._report(due.case, settled)
        return True

    def _report(self, case: Case, settled: SettledCase) -> None:
        fields = _describe(case)
        if settled.failures:
            log.warning("read_back_recovered", failures=settled.failures, **fields)
        for message_id, open_e_id in settled.found.items():
            log.info("message_settled", message_id=message_id, outcome=FOUND, open_e_message_id=open_e_id, **fields)
        for message_id in settled.not_published:
            log.warning("message_settled", message_id=message_id, outcome=NOT_PUBLISHED, **fields)
        for message_id in settled.undecidable:
            log.warning("message_undecidable", message_id=message_id, **fields)
        counts = {FOUND: settled.found, NOT_PUBLISHED: settled.not_published, UNDECIDABLE: settled.undecidable}
        for outcome, messages in counts.items():
            _settled.labels(outcome).inc(len(messages))
        if settled.found:
            self._on_readable()

    def _note_database(self, error: StorageFailed | None) -> None:
        """Log once that the database fails, and once that it has recovered."""
        if error is not None and not self._is_failing:
            log.warning("settling_interrupted", reason=error.reason)
        elif error is None and self._is_failing:
            log.warning("settling_resumed")
        self._is_failing = error is not None


def _group(cases: Sequence[DueCase]) -> list[tuple[OpenEName, list[DueCase]]]:
    """Return cases by Open-E, in their order."""
    ordered = sorted(cases, key=lambda each: each.case.open_e)
    return [(open_e, list(group)) for open_e, group in groupby(ordered, lambda each: each.case.open_e)]


def _describe(case: Case) -> dict[str, object]:
    return {"instance": str(case.open_e), "flow_instance_id": case.flow_instance_id}
