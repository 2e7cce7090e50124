"""Run a worker as a part of a process: acquire its lock, deliver, and stop."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from budkavle.clock import DatabaseClock
from budkavle.ids import create_id
from budkavle.settings import Settings
from delivery.calls import ReceiverClient
from delivery.worker import Limits, Worker
from domain.tracing import Tracer
from persistence.database import Database


class Delivering:
    """A worker that runs next to servers. `print_line` reports when it starts and ends waiting for another worker."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: DatabaseClock,
        print_line: Callable[[str], None],
        tracer: Tracer | None = None,
    ) -> None:
        limits = Limits(
            concurrency=settings.worker_concurrency,
            receiver_concurrency=settings.receiver_concurrency,
            lease=timedelta(seconds=settings.delivery_lease),
            event_retention=timedelta(hours=settings.event_retention_hours),
            receipt_retention=timedelta(days=settings.receipt_days),
        )
        self._calls = ReceiverClient(
            connect_timeout=settings.delivery_connect_timeout, attempt_timeout=settings.delivery_timeout
        )
        new_event_id = None if settings.operator_webhook_url is None else create_id
        self.worker = Worker(
            database,
            self._calls,
            limits,
            holder=create_id(),
            now=clock.now,
            new_event_id=new_event_id,
            tracer=tracer,
        )
        self._database = database
        self._print_line = print_line
        self._shutdown_timeout = settings.shutdown_timeout
        self._has_lock = self._is_stopping = False
        self._work: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Deliver until `stop`, then finish running attempts within the shutdown timeout.

        Other workers take over the remaining deliveries once their leases end.
        """
        self._work = asyncio.create_task(self._deliver())
        if self._is_stopping:
            # The signal arrived before this coroutine started.
            self._abandon_work()
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()
            await self._calls.close()
        if not self._work.cancelled():
            self._work.result()

    def stop(self) -> None:
        """Claim no more deliveries. A second call also abandons running attempts."""
        is_first, self._is_stopping = not self._is_stopping, True
        self.worker.stop()
        if is_first and self._has_lock:
            asyncio.get_running_loop().call_later(self._shutdown_timeout, self._abandon_work)
        else:
            self._abandon_work()

    def _abandon_work(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _deliver(self) -> None:
        waited = False

        def report_wait() -> None:
            nonlocal waited
            waited = True
            self._print_line("The worker waits for another worker on this file")

        async with self._database.hold_worker_lock(report_wait):
            self._has_lock = True
            if waited:
                self._print_line("The worker takes over")
            await self.worker.run_forever()
