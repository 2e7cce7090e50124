"""Send the events for operators, and find systems that are failing or have recovered."""

from collections.abc import Callable, MutableMapping
from datetime import datetime, timedelta

import structlog

from budkavle.background import BackgroundWork
from budkavle.ids import create_id
from budkavle.settings import Settings, SettingsUnusable
from delivery.operator_webhook import CALL_SECONDS, OperatorClient
from domain.deliveries import retry_delay
from domain.operator_webhook import OperatorEventType, write_operator_event
from persistence import failing_systems, operator_events
from persistence.database import Database
from persistence.operator_events import ClaimedEvent
from persistence.repeated_work import FailureLog, run_repeatedly

log = structlog.get_logger("budkavle.operator_events")

POLL_SECONDS = 5
CHECK_INTERVAL = timedelta(seconds=30)
"""Time between two searches for systems that are failing or have recovered."""

CLAIMED_AT_ONCE = 3
LEASE = timedelta(seconds=(CLAIMED_AT_ONCE + 1) * CALL_SECONDS)
"""Claimed events are sent one after the other within this time."""

LONGEST_WAIT = timedelta(minutes=15)
"""Maximum time between two calls for one event."""

NO_JITTER = 0.5


class OperatorEvents(BackgroundWork):
    """Sends events of all workers, next to one of them. `failed` are the systems whose last attempt there failed."""

    def __init__(
        self,
        database: Database,
        client: OperatorClient,
        failed: MutableMapping[str, int],
        failing_after: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self._database = database
        self._client = client
        self._failed = failed
        self._failing_after = failing_after
        self._now = now
        self._next_check = now()

    async def run_once(self) -> int:
        """Check the systems if that is due, and send due events. Return the number of calls. Raises `StorageFailed`."""
        now = self._now()
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL
            await self._check_systems(now)
        claimed = await operator_events.claim(self._database, now, now + LEASE, CLAIMED_AT_ONCE)
        for item in claimed:
            await self._send(item)
        return len(claimed)

    async def _check_systems(self, now: datetime) -> None:
        await failing_systems.report_recovered(self._database, now, create_id)
        considered = dict(self._failed)
        since = await failing_systems.find_failing(self._database, considered, now)
        for system_id in considered.keys() - since.keys():
            # The delivery has left the queue, or is paused. The next failure adds the system again.
            self._failed.pop(system_id, None)
        failing = {system_id: start for system_id, start in since.items() if now - start >= self._failing_after}
        await failing_systems.report_failing(self._database, failing, now, create_id)

    async def _send(self, item: ClaimedEvent) -> None:
        event = item.event
        parked = None
        if event.type is OperatorEventType.PARKED:
            parked = await operator_events.count_parked(self._database, event.system_id)
        body = write_operator_event(event, item.system_name, parked)
        reason = await self._client.send(event.id, body, self._now())
        log_fields = {"event_id": event.id, "type": str(event.type), "system": event.system_id}
        if reason is None:
            await operator_events.mark_sent(self._database, event.id, self._now())
            log.info("operator_event_sent", **log_fields)
            return
        log.warning("operator_event_failed", **log_fields, attempt=item.attempts, reason=reason)
        wait = min(LONGEST_WAIT, retry_delay(item.attempts, NO_JITTER))
        await operator_events.postpone(self._database, event.id, self._now() + wait)

    async def _run_forever(self) -> None:
        failures = FailureLog(log, "operator_events_not_read", "operator_events_run_failed")
        await run_repeatedly(self._send_all, failures, POLL_SECONDS)

    async def _send_all(self) -> None:
        while await self.run_once():
            pass


def create_operator_events(
    settings: Settings, database: Database, failed: MutableMapping[str, int], now: Callable[[], datetime]
) -> list[OperatorEvents]:
    """Return the work that the settings require, or none. Raises `SettingsUnusable`."""
    if settings.operator_webhook_url is None:
        return []
    if not settings.operator_webhook_secret:
        raise SettingsUnusable(
            "unusable settings: BUDKAVLE_OPERATOR_WEBHOOK_URL needs BUDKAVLE_OPERATOR_WEBHOOK_SECRET"
        )
    ca = settings.operator_webhook_ca
    client = OperatorClient(
        str(settings.operator_webhook_url),
        settings.operator_webhook_secret,
        ca=None if ca is None else f"file:{ca}",
        allow_private=settings.operator_webhook_private_addresses,
    )
    failing_after = timedelta(minutes=settings.operator_webhook_failing_minutes)
    return [OperatorEvents(database, client, failed, failing_after, now)]
