"""Call Open-E from the event loop, in threads of a separate pool, so that a slow Open-E blocks no other work."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import structlog

from domain.errors import BackendRefused, BackendUnavailable, BudkavleError, NotFound, OutcomeUnknown
from domain.log_texts import redact_for_log
from domain.publications import MAX_START
from domain.web_messages import OepInstance, WebMessage
from open_e import metrics
from open_e.client import OpenEClient

log = structlog.get_logger("budkavle.open_e")

_OUTCOMES: dict[type[BudkavleError], str] = {
    NotFound: metrics.NOT_FOUND,
    BackendRefused: metrics.REFUSED,
    BackendUnavailable: metrics.UNAVAILABLE,
    OutcomeUnknown: metrics.UNKNOWN,
}
_UNREACHED = {metrics.UNAVAILABLE, metrics.UNKNOWN}
_FAILURES = _UNREACHED | {metrics.REFUSED}


class OpenECalls:
    """Runs at most `threads` calls concurrently. A further call waits up to `queue_timeout` seconds for a thread."""

    def __init__(
        self,
        client: OpenEClient,
        configured: frozenset[OepInstance],
        *,
        threads: int,
        queue_timeout: float,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._now = now
        self._threads = ThreadPoolExecutor(threads, "open-e")
        # A slot is also used while its message is stored, so there are more slots than threads.
        self._slots = anyio.Semaphore(threads + threads // 4)
        self._queue_timeout = queue_timeout
        self._health = {instance: "UNKNOWN" if instance in configured else "NOT_CONFIGURED" for instance in OepInstance}

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Reserve capacity for one call. Raises `BackendUnavailable` if none becomes free in time."""
        try:
            with anyio.fail_after(self._queue_timeout):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise BackendUnavailable("Open-E is busy: too many calls to it are waiting") from exc
        try:
            yield
        finally:
            self._slots.release()

    async def add_message(
        self, message: WebMessage, *, added: datetime, request_id: str, trace_parent: str | None
    ) -> int:
        """Publish a message, inside a `slot`. Raises the errors of `OpenEClient.add_message`.

        Raises `BackendUnavailable` if the call cannot begin within `MAX_START` after `added`: a message that is not on
        its case by a certain time counts as not published, so it must not be sent late.
        """

        def call() -> int:
            if self._now() - added > MAX_START:
                raise BackendUnavailable("Open-E is busy: the call could not begin in time")
            return self._client.add_message(message, added=added, request_id=request_id, trace_parent=trace_parent)

        outcome, started = metrics.UNKNOWN, time.perf_counter()
        try:
            open_e_id = await asyncio.get_running_loop().run_in_executor(self._threads, call)
            outcome = metrics.PUBLISHED
            self._record_health(message.oep_instance, "UP")
        except BudkavleError as exc:
            outcome = _OUTCOMES.get(type(exc), metrics.UNKNOWN)
            self._record_health(message.oep_instance, "DOWN" if outcome in _UNREACHED else "UP")
            if outcome in _FAILURES:
                log.warning(
                    "open_e_call_failed",
                    instance=str(message.oep_instance),
                    outcome=outcome,
                    message_id=message.id,
                    request_id=request_id,
                    detail=redact_for_log(str(exc)),
                    reason=getattr(exc, "reason", ""),
                )
            raise
        finally:
            metrics.count_call(message.oep_instance, outcome, time.perf_counter() - started)
        return open_e_id

    def get_health(self, instance: OepInstance) -> str:
        """Return `UP` or `DOWN` after the last call, `UNKNOWN` before the first, `NOT_CONFIGURED` without a URL."""
        return self._health[instance]

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _record_health(self, instance: OepInstance, health: str) -> None:
        if self._health[instance] != "NOT_CONFIGURED":
            self._health[instance] = health
