"""Connections to PostgreSQL, with a limit for every wait (decision 0020).

The server cancels statements and lock waits that take too long. Where the server is silent, the client ends the
connection a little later. A connection that ended while it was idle is replaced before any work meets it.
"""

import asyncio
import contextlib
import random
import secrets
import select
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from persistence.database import to_json
from persistence.postgresql_errors import (
    DRIVER_ERRORS,
    ENDED,
    READ_ONLY,
    STARTING,
    explain,
    find_sqlstate,
    is_rejected_by_pooler,
    reason_of,
)
from persistence.postgresql_url import Address, Server
from persistence.waits import Waits

log = structlog.get_logger("budkavle.database")

CLOSE_SECONDS = 2
"""How long a graceful close of connections may take. The server frees those that are cut off by itself."""

RETRY_SECONDS = (0.05, 0.5)
"""The first and the longest pause between attempts to connect to a server that restarts."""

LOG_SECONDS = 10
"""The same failure to connect is logged once in this time."""

REPLACE_SECONDS = 1
"""A read-only server, which may have been a primary, makes all connections be replaced at most once in this time."""

_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_TCP_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}

_FIRST_WITH_TRANSACTION_TIMEOUT = 17
_PROCESS = secrets.token_hex(4)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types.
    """A connection whose transactions state what they need, and which never takes long to close."""

    session: "Session"
    base_settings = ""
    """What each transaction begins with: all settings, where a session has none of its own."""
    settings = ""

    def set_limits(self, limits: "Session") -> None:
        """Set the limits of the work that comes next, for the client and for the transaction that it begins."""
        if self._config.command_timeout != limits.client_timeout:
            # asyncpg reads it for each message to the server.
            self._config: Any = self._config._replace(command_timeout=limits.client_timeout)
        self.settings = self.base_settings + ("" if limits is self.session else limits.write_limits())

    def transaction(self, *, isolation: str | None = None, **_others: Any) -> "_Transaction":
        """Return a transaction for SQLAlchemy, which begins with our settings in the same round trip."""
        level = (isolation or "read_committed").replace("_", " ").upper()
        return _Transaction(self, f"BEGIN ISOLATION LEVEL {level}{self.settings}")

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg counts in each process. Behind a pooler whose mode is stated wrongly, a name must not run the
        # statement that another process prepared.
        return f"{super()._get_unique_id(prefix)}{_PROCESS}"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop  # type: ignore[no-any-return]  # asyncpg has no types.

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # As asyncpg declares it.
        """Close gracefully, within a limit."""
        await super().close(timeout=min(timeout or CLOSE_SECONDS, CLOSE_SECONDS))

    def has_unread_data(self) -> bool:
        """Return whether the server sent something while the connection was idle: a farewell, mostly."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def keep_alive(self, given: Mapping[str, int]) -> None:
        """Have the operating system notice a peer that is gone."""
        options = dict(given)
        if options.pop("keepalives", 1) == 0:
            return
        # It may be uvloop's, which has few methods.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (_KEEPALIVE | options).items():
            option = getattr(socket, _TCP_OPTIONS[name], None)
            if option is not None and value > 0:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


class _Transaction:
    """What SQLAlchemy needs of a transaction of asyncpg."""

    def __init__(self, connection: Connection, begin: str) -> None:
        self._connection = connection
        self._begin = begin

    async def start(self) -> None:
        await self._connection.execute(self._begin)

    async def commit(self) -> None:
        status = await self._connection.execute("COMMIT")
        if status != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")


class PoolerFound(Exception):
    """A connection pooler answers where sessions of a server were expected."""


class Session:
    """The settings that work of one kind needs, whatever is set for the role or the database."""

    def __init__(self, waits: Waits, statement: float, *, is_durable: bool = True) -> None:
        self.client_timeout = statement + waits.grace
        self._values = {
            "statement_timeout": _milliseconds(statement),
            "lock_timeout": _milliseconds(min(waits.lock_timeout, statement)),
            # A process that stops between two statements must not keep its locks.
            "idle_in_transaction_session_timeout": _milliseconds(waits.long_statement_timeout),
            "default_transaction_isolation": "read committed",
            "standard_conforming_strings": "on",
            "timezone": "UTC",
        }
        self._is_durable = is_durable

    def write(self, version: int, *, is_local: bool) -> str:
        """Return one statement that makes the settings those of the session or of the transaction.

        `version` is the major version of the server.
        """
        values = dict(self._values)
        if is_local:
            # It has begun with its own isolation already.
            del values["default_transaction_isolation"]
        if version >= _FIRST_WITH_TRANSACTION_TIMEOUT:
            values["transaction_timeout"] = "0"
        calls = [f"set_config('{name}', '{value}', {is_local})" for name, value in values.items()]
        if self._is_durable:
            # An administrator may ask for more than the local disk, but not for less.
            durable = "case current_setting('synchronous_commit') when 'off' then 'on' else "
            durable += "current_setting('synchronous_commit') end"
        else:
            durable = "'off'"
        calls.append(f"set_config('synchronous_commit', {durable}, {is_local})")
        return f"SELECT {', '.join(calls)}"

    def write_limits(self) -> str:
        """Return statements that give a transaction these limits, for the text that begins it."""
        limits = ("statement_timeout", "lock_timeout")
        return "".join(f"; SET LOCAL {name} = '{self._values[name]}'" for name in limits)


class Connector:
    """Connects to the servers of a URL, and knows when they were last away."""

    def __init__(self, server: Server, waits: Waits) -> None:
        self.server = server
        self.waits = waits
        self._away_since: float | None = None
        self._was_connected = False
        self._suspect_since = float("-inf")
        self._replaced_before = float("-inf")
        self._logged: dict[tuple[str, str], float] = {}
        self._connections: WeakSet[Connection] = WeakSet()
        # Long work connects in a thread of its own.
        self._lock = threading.Lock()

    @property
    def suspect_since(self) -> float:
        """Connections that were last used before this moment are checked before they are used."""
        return self._suspect_since

    def suspect(self) -> None:
        """Have every idle connection checked, since one was found dead or silent."""
        self._suspect_since = time.monotonic()

    @property
    def replaced_before(self) -> float:
        """Connections that were made before this moment are replaced before they are used."""
        return self._replaced_before

    def replace_connections(self) -> bool:
        """Have every connection replaced; return False if that was done a moment ago."""
        now = time.monotonic()
        if now - self._replaced_before < REPLACE_SECONDS:
            return False
        self._replaced_before = now
        return True

    async def connect(self, session: Session, limit: float, patience: float) -> Connection:
        """Connect to the first host that fits.

        A server that restarts gets the time until it has been away for `patience`; after that each call fails with its
        first attempt. `limit` is that of one attempt at one host.
        """
        began = time.monotonic()
        pause, longest = RETRY_SECONDS
        while True:
            try:
                connection = await self._try_all(session, limit)
            except DRIVER_ERRORS as exc:
                now = time.monotonic()
                self._log_failure(exc)
                if not _may_pass(exc):
                    raise
                if self._away_since is None:
                    self._away_since = now
                if now + pause > min(began, self._away_since) + patience:
                    raise
                # Not all callers at the same moment.
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # A pause is no secret.
                pause = min(2 * pause, longest)
            else:
                if self._away_since is not None:
                    seconds = round(time.monotonic() - self._away_since, 3)
                    log.warning("database_connection_restored", server=str(self.server), seconds=seconds)
                self._away_since = None
                self._was_connected = True
                with self._lock:
                    self._connections.add(connection)
                return connection

    def expect_pooler(self) -> None:
        """Connect as through a pooler in transaction mode from now on: a pooler was found, and its mode is unknown."""
        self.server = replace(self.server, pooler="transaction")
        log.info("database_pooler_found", server=str(self.server), handled_as="transaction")

    async def close_all(self) -> None:
        """Close all connections of this event loop, all at once; cut off those that are in use or get no answer."""
        loop = asyncio.get_running_loop()
        with self._lock:
            connections = [connection for connection in self._connections if connection.loop is loop]
        await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)
        for connection in connections:
            if not connection.is_closed():
                connection.terminate()

    def report_loss(self, exc: BaseException) -> None:
        """Log that a connection was lost while work used it; the same loss once in `LOG_SECONDS`."""
        self._log_error("database_connection_lost", exc)

    async def _try_all(self, session: Session, limit: float) -> Connection:
        addresses = list(self.server.addresses)
        if self.server.is_balanced:
            random.shuffle(addresses)
        wanted = self.server.target_session_attrs
        if len(addresses) > 1 and wanted == "prefer-standby":
            # asyncpg sees one host at a time: first any standby, then any host.
            tries = [(address, "standby") for address in addresses] + [(address, "any") for address in addresses]
        else:
            tries = [(address, wanted) for address in addresses]
        failure: BaseException | None = None
        for address, attributes in tries:
            try:
                return await self._try_one(address, attributes, session, limit)
            except DRIVER_ERRORS as exc:
                if len(tries) > 1 and not _may_pass(exc) and not isinstance(exc, OSError):
                    # As libpq: a host that rejects role or database ends the search.
                    raise
                # A host that answers says more than one that is gone.
                if failure is None or find_sqlstate(exc) is not None:
                    failure = exc
        if failure is None:
            raise OSError("no host")
        raise failure

    async def _try_one(self, address: Address, attributes: str, session: Session, limit: float) -> Connection:
        server = self.server
        is_unnamed = server.has_transaction_pooler
        async with asyncio.timeout(server.connect_timeout or limit):
            connection: Connection = await asyncpg.connect(
                # The other values come as arguments: asyncpg reads these from a DSN alone.
                dsn="postgresql://?"
                + "&".join(f"{name}={quote(value, safe='')}" for name, value in _dsn_options(server)),
                host=address.host,
                port=address.port,
                user=server.user,
                password=server.password,
                database=server.database,
                passfile=server.driver_options.get("passfile"),
                server_settings=dict(server.settings),
                target_session_attrs=attributes,
                connection_class=Connection,
                command_timeout=limit,
                statement_cache_size=0 if is_unnamed else 100,
            )
            try:
                connection.session = session
                if not address.host.startswith("/"):
                    connection.keep_alive(server.keepalive)
                settings = session.write(connection.get_server_version().major, is_local=is_unnamed)
                if is_unnamed:
                    connection.base_settings = f"; {settings}"
                    # The pooler takes clients while its server is away.
                    await connection.execute("SELECT 1")
                else:
                    await _begin_session(connection, settings, is_pooled=server.pooler is not None)
            except BaseException:
                connection.terminate()
                raise
        connection.set_limits(session)
        return connection

    def _log_failure(self, exc: BaseException) -> None:
        # The command that begins reports it itself.
        if self._was_connected:
            self._log_error("database_connection_failed", exc)

    def _log_error(self, event: str, exc: BaseException) -> None:
        explanation, now = explain(exc, self.server), time.monotonic()
        if now - self._logged.get((event, explanation), float("-inf")) >= LOG_SECONDS:
            self._logged[event, explanation] = now
            log.error(event, sqlstate=find_sqlstate(exc), reason=reason_of(exc), detail=explanation)


def open_pool(
    connector: Connector,
    session: Session,
    size: int,
    *,
    isolation_level: str = "READ COMMITTED",
    timeout: float | None = None,
    patience: float | None = None,
) -> AsyncEngine:
    """Return an engine whose connections are checked before they are used.

    `timeout` limits one attempt to connect and the wait for a connection of the pool.
    """
    waits = connector.waits
    is_unnamed = connector.server.has_transaction_pooler

    async def connect(*_args: object, **_kwargs: object) -> Connection:
        if connector.server.has_transaction_pooler != is_unnamed:
            # It was found after this pool was opened.
            raise PoolerFound
        limits = timeout or waits.connect_timeout, waits.pool_timeout if patience is None else patience
        connection = await connector.connect(session, *limits)
        if connector.server.has_transaction_pooler != is_unnamed:
            # It was found while this caller waited for the server: the pool would use sessions that have no settings.
            connection.terminate()
            raise PoolerFound
        return connection

    arguments: dict[str, Any] = {"async_creator_fn": connect}
    if is_unnamed:
        # A pooler in transaction mode knows no statement by name, and single statements need their settings too.
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        isolation_level = "READ COMMITTED" if isolation_level == "AUTOCOMMIT" else isolation_level
    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout or waits.pool_timeout,
        # Behind a pooler the others become idle, and are closed.
        pool_use_lifo=connector.server.pooler is not None,
        isolation_level=isolation_level,
        connect_args=arguments,
        json_serializer=to_json,
        # Errors reach the log, and parameters hold the content of callers.
        hide_parameters=True,
    )
    _Watch(connector).listen(engine)
    return engine


class _Watch:
    """Checks connections when work takes them from a pool, and ends those that failed."""

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
        connection: Connection = dbapi_connection.driver_connection
        record.info["is_idle"] = False
        if self._is_usable(connection, record.info):
            return
        if not connection.is_closed():
            connection.terminate()
        # The pool replaces it.
        raise sa.exc.DisconnectionError("the connection ended while it was idle")

    def handle_error(self, context: Any) -> None:
        exc = context.original_exception
        code = find_sqlstate(exc)
        # After a failover a new connection may reach the new primary.
        is_replaced = code == READ_ONLY and self._connector.replace_connections()
        is_silent = isinstance(exc, TimeoutError)
        if is_replaced or is_silent or code in ENDED:
            context.is_disconnect = True
        if context.is_disconnect:
            self._connector.suspect()
            if not isinstance(exc, asyncio.CancelledError):
                self._connector.report_loss(exc)
        if is_silent and context.connection is not None:
            # Without a farewell, for which the silent server would be waited for.
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                context.connection.connection.driver_connection.terminate()

    def _close_when_idle(self, connection: Connection, info: dict[str, Any]) -> None:
        """Close a connection that nothing has used for a while: a pooler in session mode may have no other left."""
        if connection.is_closed():
            return
        left = self._waits.idle_check
        if info["is_idle"]:
            left -= time.monotonic() - info["used"]
        if left > 0:
            connection.loop.call_later(left, self._close_when_idle, connection, info)
        else:
            # The pool replaces it when work takes it.
            connection.terminate()

    def _is_usable(self, connection: Connection, info: dict[str, Any]) -> bool:
        connector, now = self._connector, time.monotonic()
        if connection.is_closed() or info["made"] < connector.replaced_before:
            return False
        is_suspect = info["used"] < connector.suspect_since or now - info["used"] >= self._waits.idle_check
        if not is_suspect and not connection.has_unread_data():
            return True
        is_usable: bool = await_only(_answers(connection, self._waits.health_timeout))
        if not is_usable:
            connector.suspect()
        return is_usable


async def _answers(connection: Connection, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await connection.execute("SELECT 1")
    except DRIVER_ERRORS:
        return False
    return True


async def _begin_session(connection: Connection, settings: str, *, is_pooled: bool) -> None:
    """Make the settings those of the session. Raises `PoolerFound` for a pooler that is not expected.

    A pooler gives its clients process ids of its own, since a client's session may change. In a session that others
    use too nothing is set.
    """
    condition = "" if is_pooled else f" WHERE pg_backend_pid() = {connection.get_server_pid()}"
    # As a simple query: that is one round trip.
    if await connection.execute(settings + condition) != "SELECT 1":
        await connection.close()
        raise PoolerFound


def _may_pass(exc: BaseException) -> bool:
    """Return whether a failure to connect may be over in a moment, as that of a server that restarts."""
    if find_sqlstate(exc) in STARTING:
        return True
    if is_rejected_by_pooler(exc):
        return False
    is_refused = isinstance(exc, ConnectionRefusedError | ConnectionResetError | FileNotFoundError)
    return is_refused or isinstance(exc, asyncpg.TargetServerAttributeNotMatched | asyncpg.PostgresConnectionError)


def _dsn_options(server: Server) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in server.driver_options.items() if name != "passfile")


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
