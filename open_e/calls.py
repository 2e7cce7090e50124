"""Call Open-E from the event loop, in threads of a separate pool, so that a slow Open-E blocks no other work."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import structlog

from domain.errors import (
    BackendRefused,
    BackendUnavailable,
    BudkavleError,
    ConnectionLost,
    NotFound,
    ResponseTimedOut,
)
from domain.log_texts import redact_for_log
from domain.publications import MAX_START
from domain.tracing import SpanKind, TracedWork, Tracer, trace_work
from domain.web_messages import OpenEName, WebMessage
from open_e import metrics
from open_e.circuits import Circuit
from open_e.client import OpenEClient
from open_e.envelopes import get_operation

log = structlog.get_logger("budkavle.open_e")

_UNANSWERED = (BackendUnavailable, ResponseTimedOut)

_OUTCOMES: dict[type[BudkavleError], str] = {
    NotFound: metrics.NOT_FOUND,
    BackendRefused: metrics.REFUSED,
    BackendUnavailable: metrics.UNAVAILABLE,
    BudkavleError: metrics.UNKNOWN,
}
_UNREACHED = {metrics.UNAVAILABLE, metrics.UNKNOWN}
_FAILURES = _UNREACHED | {metrics.REFUSED}


class OpenECalls:
    """Runs at most `threads` calls concurrently. A further call waits up to `queue_timeout` seconds for a thread.

    After `circuit_threshold` calls in a row without an answer, the circuit of this instance opens (`Circuit`).
    """

    def __init__(
        self,
        client: OpenEClient,
        configured: frozenset[OpenEName],
        *,
        threads: int,
        queue_timeout: float,
        now: Callable[[], datetime],
        circuit_threshold: int,
        probe_seconds: float,
        tracer: Tracer | None = None,
    ) -> None:
        self._client = client
        self._tracer = tracer
        self._now = now
        self._threads = ThreadPoolExecutor(threads, "open-e")
        # A slot is also used while its message is stored, so there are more slots than threads.
        self._slots = anyio.Semaphore(threads + threads // 4)
        self._queue_timeout = queue_timeout
        self._circuits: defaultdict[OpenEName, Circuit] = defaultdict(
            lambda: Circuit(threshold=circuit_threshold, seconds=probe_seconds)
        )
        self._health = defaultdict(lambda: "NOT_CONFIGURED", dict.fromkeys(configured, "UNKNOWN"))
        metrics.create_series(configured)

    @asynccontextmanager
    async def slot(self, open_e: OpenEName) -> AsyncIterator[None]:
        """Reserve capacity for one call.

        Raises `BackendUnavailable` if none becomes free in time, and `CircuitOpen` while the Open-E does not answer.
        """
        circuit = self._circuits[open_e]
        circuit.check()
        try:
            with anyio.fail_after(self._queue_timeout):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise BackendUnavailable("Open-E is busy: too many calls to it are waiting") from exc
        try:
            with circuit.enter():
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
        with trace_work(self._tracer, get_operation(message), SpanKind.CLIENT, trace_parent) as work:
            work.attributes |= {"budkavle.open_e": str(message.open_e), "budkavle.message_id": message.id}
            return await self._call(message, added, request_id, work)

    async def _call(self, message: WebMessage, added: datetime, request_id: str, work: TracedWork) -> int:
        def call() -> int:
            if self._now() - added > MAX_START:
                raise _TooLate("Open-E is busy: the call could not begin in time")
            return self._client.add_message(message, added=added, request_id=request_id, trace_parent=work.trace_parent)

        outcome, started = metrics.UNKNOWN, time.perf_counter()
        try:
            open_e_id = await asyncio.get_running_loop().run_in_executor(self._threads, call)
            outcome = metrics.PUBLISHED
            self._record_health(message.open_e, None)
        except BudkavleError as exc:
            outcome = next(outcome for kind, outcome in _OUTCOMES.items() if isinstance(exc, kind))
            self._record_health(message.open_e, exc if outcome in _UNREACHED else None)
            if outcome in _FAILURES:
                log.warning(
                    "open_e_call_failed",
                    instance=str(message.open_e),
                    outcome=outcome,
                    message_id=message.id,
                    request_id=request_id,
                    detail=redact_for_log(str(exc)),
                    reason=getattr(exc, "reason", ""),
                )
            raise
        finally:
            work.attributes["budkavle.outcome"] = outcome
            metrics.count_call(message.open_e, outcome, time.perf_counter() - started)
        return open_e_id

    def get_health(self, open_e: OpenEName) -> str:
        """Return `UP` or `DOWN` after the last call, `PAUSED` with an open circuit, `UNKNOWN` before the first.

        It is `NOT_CONFIGURED` without a URL.
        """
        return "PAUSED" if self._circuits[open_e].is_open else self._health[open_e]

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _record_health(self, open_e: OpenEName, error: BudkavleError | None) -> None:
        """Record that a call was answered, with success or a fault (None), or the error without a valid answer."""
        if isinstance(error, _TooLate) or self._health[open_e] == "NOT_CONFIGURED":
            return
        self._health[open_e] = "UP" if error is None else "DOWN"
        circuit = self._circuits[open_e]
        was_open = circuit.is_open
        if isinstance(error, _UNANSWERED):
            circuit.note_silence()
        elif not isinstance(error, ConnectionLost):
            circuit.note_answer()
        if circuit.is_open != was_open:
            log.warning("open_e_calls_resumed" if was_open else "open_e_calls_paused", instance=str(open_e))
            metrics.set_circuit(open_e, is_open=circuit.is_open)


class _TooLate(BackendUnavailable):
    """The call could not begin in time."""
