"""Notify workers of other processes after commits that made deliveries due (decision 0024)."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence.prepared import PreparedStatement
from persistence.tables import web_message_events
from persistence.work import short_read

NOTIFY_SECONDS = 0.01
"""Minimum time between two notifications of a process."""

UNMAPPED_SECONDS = 1.0
"""Time for which a process assumes that web messages still raise no events."""

_MAPPED = PreparedStatement(sa.select(web_message_events.c.entity_type))


class Notifier:
    """Sends the notifications of one process, in the background.

    `send` sends one; `are_mapped` returns whether web messages raise events. Both may raise `StorageFailed`.
    """

    def __init__(self, send: Callable[[], Awaitable[None]], are_mapped: Callable[[], Awaitable[bool]]) -> None:
        self._send = send
        self._are_mapped = are_mapped
        self._is_requested = self._is_certain = False
        self._unmapped_until = float("-inf")
        self._sending: asyncio.Task[None] | None = None

    def notify(self, *, is_certain: bool) -> None:
        """Send a notification soon. Unless `is_certain`, it is sent only if web messages raise events."""
        if not is_certain and time.monotonic() < self._unmapped_until:
            return
        self._is_requested = True
        self._is_certain = self._is_certain or is_certain
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), context=Context())

    async def notify_now(self) -> None:
        """Send a notification, and return when it is sent or has failed: workers also poll."""
        # The error is logged already.
        with contextlib.suppress(StorageFailed):
            await self._send()

    async def close(self) -> None:
        """Drop a notification that was not sent: workers also poll."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send_all(self) -> None:
        try:
            while self._is_requested:
                is_certain, self._is_requested, self._is_certain = self._is_certain, False, False
                begun = time.monotonic()
                # The error is logged already, and workers poll.
                with contextlib.suppress(StorageFailed):
                    if is_certain or await self._are_mapped():
                        await self._send()
                    else:
                        self._unmapped_until = begun + UNMAPPED_SECONDS
                await asyncio.sleep(begun + NOTIFY_SECONDS - time.monotonic())
        finally:
            self._sending = None


@short_read
def web_messages_raise_events(connection: sa.Connection) -> bool:
    """Return whether the operator has mapped web messages to a type of event."""
    return bool(_MAPPED.execute(connection))
