"""Pools whose connections are checked before each use (decision 0020).

A connection that was closed while it was idle is replaced before work uses it.
"""

import asyncio
import contextlib
import time
from contextvars import Context
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from persistence.database import to_json
from persistence.postgresql.connections import Connector, PoolerFound, PostgresqlConnection, SessionSettings
from persistence.postgresql.errors import DRIVER_ERRORS, ENDED, READ_ONLY, find_sqlstate


def open_pool(
    connector: Connector,
    session: SessionSettings,
    size: int,
    *,
    isolation_level: str = "READ COMMITTED",
    timeout: float | None = None,
    retry_seconds: float | None = None,
) -> AsyncEngine:
    """Return an engine that checks connections before each use.

    `timeout` limits each attempt to connect and each wait for a pooled connection.
    """
    waits = connector.waits
    is_unnamed = connector.server.has_transaction_pooler

    async def connect(*_args: object, **_kwargs: object) -> PostgresqlConnection:
        if connector.server.has_transaction_pooler != is_unnamed:
            # The pooler was detected after this pool was opened.
            raise PoolerFound
        limits = timeout or waits.connect_timeout, waits.pool_timeout if retry_seconds is None else retry_seconds
        connection = await connector.connect(session, *limits)
        if connector.server.has_transaction_pooler != is_unnamed:
            # The pooler was detected while this caller waited for the server. This pool would use sessions without our
            # settings.
            connection.terminate()
            raise PoolerFound
        return connection

    arguments: dict[str, Any] = {"async_creator_fn": connect}
    if is_unnamed:
        # Poolers in transaction mode do not support named prepared statements, and single statements need a transaction
        # that includes our settings.
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        isolation_level = "READ COMMITTED" if isolation_level == "AUTOCOMMIT" else isolation_level
    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout or waits.pool_timeout,
        # Behind a pooler, unused connections should become idle and be closed.
        pool_use_lifo=connector.server.pooler is not None,
        isolation_level=isolation_level,
        connect_args=arguments,
        json_serializer=to_json,
        json_deserializer=orjson.loads,
        # Errors are logged, and parameters contain data of callers.
        hide_parameters=True,
    )
    _ConnectionChecker(connector).listen(engine)
    return engine


class _ConnectionChecker:
    """Check connections when they leave a pool, and close those that failed."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._waits = connector.waits

    def listen(self, engine: AsyncEngine) -> None:
        for name in ("connect", "checkin", "checkout", "handle_error"):
            sa.event.listen(engine.sync_engine, name, getattr(self, name))

    def connect(self, _dbapi_connection: Any, record: Any) -> None:
        record.info["made"] = record.info["used"] = time.monotonic()

    def checkin(self, dbapi_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()
        record.info["is_idle"] = True
        if dbapi_connection is not None and self._connector.server.pooler and "closes" not in record.info:
            record.info["closes"] = True
            self._close_when_idle(dbapi_connection.driver_connection, record.info)

    def checkout(self, dbapi_connection: Any, record: Any, _proxy: object) -> None:
        connection: PostgresqlConnection = dbapi_connection.driver_connection
        record.info["is_idle"] = False
        if self._is_usable(connection, record.info):
            return
        if not connection.is_closed():
            connection.terminate()
        # The pool replaces the connection.
        raise sa.exc.DisconnectionError("the connection ended while it was idle")

    def handle_error(self, context: Any) -> None:
        exc = context.original_exception
        code = find_sqlstate(exc)
        # After a failover, a new connection may reach the new primary.
        is_replaced = code == READ_ONLY and self._connector.replace_connections()
        is_silent = isinstance(exc, TimeoutError)
        if is_replaced or is_silent or code in ENDED:
            context.is_disconnect = True
        if context.is_disconnect:
            self._connector.suspect()
            if not isinstance(exc, asyncio.CancelledError):
                self._connector.report_loss(exc)
        if is_silent and context.connection is not None:
            # Terminate instead of a graceful close, which would wait for the unresponsive server.
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                context.connection.connection.driver_connection.terminate()

    def _close_when_idle(self, connection: PostgresqlConnection, info: dict[str, Any]) -> None:
        """Close a connection after it was idle for a while: a pooler in session mode may need its server connection."""
        if connection.is_closed():
            return
        seconds = self._waits.idle_check
        if info["is_idle"]:
            seconds -= time.monotonic() - info["used"]
        if seconds > 0:
            # Use a new context, because the timer keeps it.
            connection.loop.call_later(seconds, self._close_when_idle, connection, info, context=Context())
        else:
            # The pool replaces the connection at its next use.
            connection.terminate()

    def _is_usable(self, connection: PostgresqlConnection, info: dict[str, Any]) -> bool:
        connector, now = self._connector, time.monotonic()
        if connection.is_closed() or info["made"] < connector.replaced_before:
            return False
        is_suspect = info["used"] < connector.suspect_since or now - info["used"] >= self._waits.idle_check
        if not is_suspect and not connection.has_unread_data():
            return True
        is_usable: bool = await_only(_is_responsive(connection, self._waits.health_timeout))
        if not is_usable:
            connector.suspect()
        return is_usable


async def _is_responsive(connection: PostgresqlConnection, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await connection.execute("SELECT 1")
    except DRIVER_ERRORS:
        return False
    return True
