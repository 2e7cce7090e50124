"""Notifications of PostgreSQL for workers that sleep (decision 0024)."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import sqlalchemy as sa

from persistence.postgresql.connections import Connector, PoolerFound, SessionSettings
from persistence.postgresql.errors import DRIVER_ERRORS
from persistence.prepared import PreparedStatement
from persistence.work import mark

CHANNEL = "budkavle_deliveries"

RECONNECT_SECONDS = 1.0
"""Delay before a listener connects again."""

_NOTIFY = PreparedStatement(sa.text(f"select pg_notify('{CHANNEL}', '')"))


@mark
def notify(connection: sa.Connection) -> None:
    """Notify all listeners.

    As a mark, it uses none of the connections that write and does not wait for the disk. It must not be part of another
    transaction: notifications serialise the commits that contain them.
    """
    _NOTIFY.execute(connection)


class Listener:
    """Calls `wake` for each notification, on a connection of its own. `is_listening` is whether it has one now."""

    def __init__(self, connector: Connector, wake: Callable[[], None]) -> None:
        self._connector = connector
        self._wake = wake
        self.is_listening = False

    async def run(self) -> None:
        """Listen until cancelled, except through a pooler, whose sessions may be those of other clients."""
        while True:
            if self._connector.server.pooler is None:
                with contextlib.suppress(PoolerFound, *DRIVER_ERRORS):
                    await self._listen()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        """Listen until the connection ends. Raises errors of the driver."""
        waits = self._connector.waits
        session = SessionSettings(waits, waits.health_timeout)
        connection = await self._connector.connect(session, waits.connect_timeout, retry_seconds=0)
        made = time.monotonic()
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: ended.set())
            await connection.add_listener(CHANNEL, lambda *_notification: self._wake())
            self.is_listening = True
            # For commits whose notification found no listener.
            self._wake()
            while not ended.is_set() and self._connector.replaced_before <= made:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(waits.idle_check):
                        await ended.wait()
                        return
                # A network may drop a silent connection without a message to either end.
                await connection.execute("SELECT 1")
        except DRIVER_ERRORS as exc:
            self._connector.report_loss(exc)
            raise
        finally:
            self.is_listening = False
            connection.terminate()
