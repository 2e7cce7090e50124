"""Record the outcomes of publications on Open-E, and retry until the database has stored them.

A message that is on its case must become readable, even if the database restarts between the call and the record. The
process keeps the outcome in memory until it is stored; if the process dies first, the message stays `sending` until it
is settled (decision 0026).
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never

import structlog

from domain.errors import StorageFailed
from domain.publications import MAX_START, PublicationOutcome
from domain.web_messages import MessageState, WebMessage
from persistence import web_messages as stored
from persistence.database import Database
from persistence.publication_decisions import mark_published_late

FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 2.0
"""The delay before a retry doubles from the first to the longest value while the database fails."""

REVOCATION_SECONDS = (0, 5, 30, 120)
"""Delays after which a message is deleted that may have been stored although its call was not made.

The INSERT can reach the server after the first deletions, when an interrupted network works again.
"""

RETRIED_TOGETHER = 16
"""Outcomes that are stored together after the database has recovered."""

log = structlog.get_logger("budkavle.errors")


@dataclass(slots=True)
class _Pending:
    """An outcome that is not stored yet. The future `recorded` returns whether it was stored as it is."""

    outcome: PublicationOutcome
    began: float
    recorded: asyncio.Future[bool] = field(repr=False)
    is_delayed: bool = False


class PublicationOutcomes:
    """Stores the outcomes of one process. Call `close` before the database is closed."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], timeout: float) -> None:
        self._database = database
        self._now = now
        self._timeout = timeout
        self._pending: dict[str, _Pending] = {}
        self._delayed: list[_Pending] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._retrying: asyncio.Task[None] | None = None

    async def record(self, outcome: PublicationOutcome) -> bool:
        """Store an outcome. Return False if it is not stored within the timeout, or if the message is in doubt instead.

        Storing continues in the background after the timeout, also if the caller is cancelled. Raises errors other than
        failures of the database; in that case storing is abandoned.
        """
        outcome = replace(outcome, message=_remove_attachments(outcome.message))
        loop = asyncio.get_running_loop()
        pending = _Pending(outcome, time.monotonic(), loop.create_future())
        # Retrieve the exception here too: a cancelled caller does not, and it is already logged.
        pending.recorded.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._pending[outcome.message.id] = pending
        self._begin(self._try_first(pending))
        await asyncio.wait([pending.recorded], timeout=self._timeout)
        if not pending.recorded.done():
            return False
        return pending.recorded.result()

    def revoke(self, message: WebMessage, sent: datetime) -> None:
        """Delete a message in the background that may have been stored and whose call to Open-E was not made."""
        self._begin(self._revoke(PublicationOutcome(_remove_attachments(message), sent, None)))

    async def close(self) -> None:
        """Wait for pending outcomes up to the timeout, then abandon and log them."""
        if self._pending:
            await asyncio.wait([pending.recorded for pending in self._pending.values()], timeout=self._timeout)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for pending in self._pending.values():
            log.error("publication_record_abandoned", **_build_log_fields(pending))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _revoke(self, outcome: PublicationOutcome) -> None:
        for delay in REVOCATION_SECONDS:
            await asyncio.sleep(delay)
            await self.record(outcome)

    async def _try_first(self, pending: _Pending) -> None:
        if await self._try(pending) is None:
            return
        self._delayed.append(pending)
        if self._retrying is None:
            self._retrying = self._begin(self._retry())

    async def _retry(self) -> None:
        """Retry delayed outcomes until none is left: one at a time while the database fails, then many together."""
        delay = FIRST_DELAY_SECONDS
        try:
            while self._delayed:
                await asyncio.sleep(delay)
                probe = self._delayed.pop(0)
                if await self._try(probe) is not None:
                    # Move it behind the others, so that a row that cannot be written does not block them.
                    self._delayed.append(probe)
                    delay = min(2 * delay, LONGEST_DELAY_SECONDS)
                    continue
                delay = FIRST_DELAY_SECONDS
                together, self._delayed = self._delayed[:RETRIED_TOGETHER], self._delayed[RETRIED_TOGETHER:]
                failures = await asyncio.gather(*(self._try(each) for each in together))
                self._delayed += [each for each, failure in zip(together, failures, strict=True) if failure is not None]
        finally:
            self._retrying = None

    async def _try(self, pending: _Pending) -> StorageFailed | None:
        """Try to store an outcome once. Return the failure of the database after which it must be retried."""
        try:
            is_recorded = await self._write(pending.outcome)
        except StorageFailed as exc:
            if not pending.is_delayed:
                pending.is_delayed = True
                log.warning("publication_record_delayed", reason=exc.reason, **_build_log_fields(pending))
            return exc
        except Exception as exc:
            log.exception("publication_record_failed", **_build_log_fields(pending))
            self._end(pending)
            pending.recorded.set_exception(exc)
            return None
        if pending.is_delayed:
            seconds = round(time.monotonic() - pending.began, 3)
            log.warning("publication_recorded", seconds=seconds, **_build_log_fields(pending))
        self._end(pending)
        pending.recorded.set_result(is_recorded)
        return None

    def _end(self, pending: _Pending) -> None:
        self._pending.pop(pending.outcome.message.id, None)

    async def _write(self, outcome: PublicationOutcome) -> bool:
        message = outcome.message
        match outcome.state:
            case MessageState.PUBLISHED:
                assert outcome.open_e_message_id is not None  # noqa: S101  # A published outcome has Open-E's id.
                # Use the time of this attempt: readers may have read past an earlier one.
                now = self._now()
                if now - outcome.sent > MAX_START:
                    # Its case may have been settled in the meantime.
                    return await mark_published_late(self._database, message.id, outcome.open_e_message_id, now)
                await stored.mark_published(self._database, message, outcome.open_e_message_id, now)
            case MessageState.UNKNOWN:
                await stored.mark_unknown(self._database, message.id, outcome.sent)
            case None:
                await stored.drop_refused(self._database, message.id, outcome.sent)
            case _ as unreachable:
                assert_never(unreachable)
        return True


def _remove_attachments(message: WebMessage) -> WebMessage:
    """Return a message without attachments, which are stored already and can be large."""
    return replace(message, attachments=())


def _build_log_fields(pending: _Pending) -> dict[str, object]:
    outcome = pending.outcome
    return {
        "message_id": outcome.message.id,
        "outcome": "refused" if outcome.state is None else str(outcome.state),
        "open_e_instance": str(outcome.message.open_e),
        "open_e_message_id": outcome.open_e_message_id,
    }
