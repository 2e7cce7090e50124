"""Connections to PostgreSQL, with a timeout for every wait (decision 0020).

The server cancels statements and lock waits that exceed their timeout. If the server does not respond, the client
closes the connection a little later.
"""

import asyncio
import random
import secrets
import select
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import asyncpg
import structlog

from persistence.postgresql.errors import (
    DRIVER_ERRORS,
    STARTING,
    describe_kind,
    explain,
    find_sqlstate,
    is_rejected_by_pooler,
)
from persistence.postgresql.url import Address, Server
from persistence.waits import Waits

log = structlog.get_logger("budkavle.database")

CLOSE_SECONDS = 2
"""Timeout of a graceful close. The server itself cleans up connections that are cut off."""

RETRY_SECONDS = (0.05, 0.5)
"""The first and the longest delay between attempts to connect to a restarting server."""

LOG_SECONDS = 10
"""Minimum time between log entries about the same connection failure."""

REPLACE_SECONDS = 1
"""Minimum time between two replacements of all connections.

A read-only server triggers a replacement, because it may be a demoted primary.
"""

_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_TCP_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}

_FIRST_WITH_TRANSACTION_TIMEOUT = 17
_PROCESS = secrets.token_hex(4)


class PostgresqlConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types.
    """A connection whose transactions set their own configuration, and whose close has a timeout."""

    session: "SessionSettings"
    base_settings = ""
    """SQL that begins each transaction: all settings, if the session itself has none of ours."""
    settings = ""

    def set_limits(self, limits: "SessionSettings") -> None:
        """Set the client's timeout and the settings of the next transaction."""
        if self._config.command_timeout != limits.client_timeout:
            # asyncpg reads this value for each message to the server.
            self._config: Any = self._config._replace(command_timeout=limits.client_timeout)
        self.settings = self.base_settings + ("" if limits is self.session else limits.write_limits())

    def transaction(self, *, isolation: str | None = None, **_others: Any) -> "_Transaction":
        """Return a transaction for SQLAlchemy. Its BEGIN includes our settings in the same round trip."""
        level = (isolation or "read_committed").replace("_", " ").upper()
        return _Transaction(self, f"BEGIN ISOLATION LEVEL {level}{self.settings}")

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg numbers prepared statements per process. Behind a pooler whose mode is configured wrongly, a name must
        # not match a statement of another process.
        return f"{super()._get_unique_id(prefix)}{_PROCESS}"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop  # type: ignore[no-any-return]  # asyncpg has no types.

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # As asyncpg declares it.
        """Close gracefully, with a timeout."""
        await super().close(timeout=min(timeout or CLOSE_SECONDS, CLOSE_SECONDS))

    def has_unread_data(self) -> bool:
        """Return whether data arrived while the connection was idle, usually the server's message that it closes."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def keep_alive(self, url_options: Mapping[str, int]) -> None:
        """Enable TCP keepalive, so that the operating system detects a lost peer."""
        options = dict(url_options)
        if options.pop("keepalives", 1) == 0:
            return
        # The socket may be uvloop's, which has few methods.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (_KEEPALIVE | options).items():
            option = getattr(socket, _TCP_OPTIONS[name], None)
            if option is not None and value > 0:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


class _Transaction:
    """The transaction interface that SQLAlchemy expects of asyncpg."""

    def __init__(self, connection: PostgresqlConnection, begin: str) -> None:
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
    """The peer is a connection pooler, but a server with its own sessions was configured."""


class SessionSettings:
    """The session settings for one kind of work. They override the settings of the role and the database."""

    def __init__(
        self, waits: Waits, statement: float, *, is_durable: bool = True, planner: Mapping[str, str] | None = None
    ) -> None:
        self.client_timeout = statement + waits.grace
        self._values = {
            "statement_timeout": _to_milliseconds(statement),
            "lock_timeout": _to_milliseconds(min(waits.lock_timeout, statement)),
            # A process that hangs between two statements must not keep its locks.
            "idle_in_transaction_session_timeout": _to_milliseconds(waits.long_statement_timeout),
            "default_transaction_isolation": "read committed",
            "standard_conforming_strings": "on",
            "timezone": "UTC",
        }
        self._planner = dict(planner or {})
        self._values |= self._planner
        self._is_durable = is_durable

    def write(self, version: int, *, is_local: bool) -> str:
        """Return one statement that sets these values for the session, or for the transaction if `is_local`.

        `version` is the major version of the server.
        """
        values = dict(self._values)
        if is_local:
            # The transaction has already begun with its own isolation level.
            del values["default_transaction_isolation"]
        if version >= _FIRST_WITH_TRANSACTION_TIMEOUT:
            values["transaction_timeout"] = "0"
        calls = [f"set_config('{name}', '{value}', {is_local})" for name, value in values.items()]
        if self._is_durable:
            # Administrators may require more than a flush to the local disk, but not less.
            durable = "case current_setting('synchronous_commit') when 'off' then 'on' else "
            durable += "current_setting('synchronous_commit') end"
        else:
            durable = "'off'"
        calls.append(f"set_config('synchronous_commit', {durable}, {is_local})")
        return f"SELECT {', '.join(calls)}"

    def write_limits(self) -> str:
        """Return statements that set these timeouts for a transaction, to be appended to its BEGIN."""
        limits = ("statement_timeout", "lock_timeout", *self._planner)
        return "".join(f"; SET LOCAL {name} = '{self._values[name]}'" for name in limits)


class Connector:
    """Connects to the servers of a URL and records when they were unavailable."""

    def __init__(self, server: Server, waits: Waits) -> None:
        self.server = server
        self.waits = waits
        self._unavailable_since: float | None = None
        self._was_connected = False
        self._suspect_since = float("-inf")
        self._replaced_before = float("-inf")
        self._logged: dict[tuple[str, str], float] = {}
        self._connections: WeakSet[PostgresqlConnection] = WeakSet()
        # Long work connects in another thread.
        self._lock = threading.Lock()

    @property
    def suspect_since(self) -> float:
        """Connections last used before this moment are checked before their next use."""
        return self._suspect_since

    def suspect(self) -> None:
        """Check all idle connections before their next use, because one was dead or unresponsive."""
        self._suspect_since = time.monotonic()

    @property
    def replaced_before(self) -> float:
        """Connections opened before this moment are replaced before their next use."""
        return self._replaced_before

    def replace_connections(self) -> bool:
        """Replace all connections before their next use. Return False if that happened a moment ago."""
        now = time.monotonic()
        if now - self._replaced_before < REPLACE_SECONDS:
            return False
        self._replaced_before = now
        return True

    async def connect(self, session: SessionSettings, limit: float, retry_seconds: float) -> PostgresqlConnection:
        """Connect to the first suitable host.

        Retries cover a restart of the server: they end once the server has been unavailable for `retry_seconds`. After
        that time each call makes a single attempt. `limit` is the timeout of one attempt at one host.
        """
        started = time.monotonic()
        delay, longest = RETRY_SECONDS
        while True:
            try:
                # Use a new context, because the connection's callbacks keep it: the caller's contains a request.
                connection = await asyncio.create_task(self._try_all(session, limit), context=Context())
            except DRIVER_ERRORS as exc:
                now = time.monotonic()
                self._log_failure(exc)
                if not _is_temporary(exc):
                    raise
                if self._unavailable_since is None:
                    self._unavailable_since = now
                if now + delay > min(started, self._unavailable_since) + retry_seconds:
                    raise
                # Randomise the delay, so that callers do not retry at the same moment.
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # A delay is no secret.
                delay = min(2 * delay, longest)
            else:
                if self._unavailable_since is not None:
                    seconds = round(time.monotonic() - self._unavailable_since, 3)
                    log.warning("database_connection_restored", server=str(self.server), seconds=seconds)
                self._unavailable_since = None
                self._was_connected = True
                with self._lock:
                    self._connections.add(connection)
                return connection

    def expect_pooler(self) -> None:
        """Treat the server as a pooler in transaction mode from now on: the mode of the detected pooler is unknown."""
        self.server = replace(self.server, pooler="transaction")
        log.info("database_pooler_found", server=str(self.server), handled_as="transaction")

    async def close_all(self) -> None:
        """Close all connections of this event loop concurrently. Terminate those that are in use or do not respond."""
        loop = asyncio.get_running_loop()
        with self._lock:
            connections = [connection for connection in self._connections if connection.loop is loop]
        await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)
        for connection in connections:
            if not connection.is_closed():
                connection.terminate()

    def report_loss(self, exc: BaseException) -> None:
        """Log that a connection was lost during work, at most once per `LOG_SECONDS` for the same error."""
        self._log_error("database_connection_lost", exc)

    async def _try_all(self, session: SessionSettings, limit: float) -> PostgresqlConnection:
        addresses = list(self.server.addresses)
        if self.server.is_balanced:
            random.shuffle(addresses)
        wanted = self.server.target_session_attrs
        if len(addresses) > 1 and wanted == "prefer-standby":
            # asyncpg receives one host at a time: try all hosts as a standby first, then all hosts with any role.
            tries = [(address, "standby") for address in addresses] + [(address, "any") for address in addresses]
        else:
            tries = [(address, wanted) for address in addresses]
        failure: BaseException | None = None
        for address, attributes in tries:
            try:
                return await self._try_one(address, attributes, session, limit)
            except DRIVER_ERRORS as exc:
                if len(tries) > 1 and not _is_temporary(exc) and not isinstance(exc, OSError):
                    # As in libpq, a host that rejects the role or the database ends the search.
                    raise
                # Prefer an error that a server reported over that of an unreachable host.
                if failure is None or find_sqlstate(exc) is not None:
                    failure = exc
        if failure is None:
            raise OSError("no host")
        raise failure

    async def _try_one(
        self, address: Address, attributes: str, session: SessionSettings, limit: float
    ) -> PostgresqlConnection:
        server = self.server
        is_unnamed = server.has_transaction_pooler
        async with asyncio.timeout(server.connect_timeout or limit):
            connection: PostgresqlConnection = await asyncpg.connect(
                # Pass only these options in the DSN: asyncpg accepts them nowhere else.
                dsn="postgresql://?"
                + "&".join(f"{name}={quote(value, safe='')}" for name, value in _list_dsn_options(server)),
                host=address.host,
                port=address.port,
                user=server.user,
                password=server.password,
                database=server.database,
                passfile=server.driver_options.get("passfile"),
                server_settings=dict(server.settings),
                target_session_attrs=attributes,
                connection_class=PostgresqlConnection,
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
                    # A pooler accepts clients even if its server is unavailable, so test the connection with a
                    # statement.
                    await connection.execute("SELECT 1")
                else:
                    await _begin_session(connection, settings, is_pooled=server.pooler is not None)
            except BaseException:
                connection.terminate()
                raise
        connection.set_limits(session)
        return connection

    def _log_failure(self, exc: BaseException) -> None:
        # A command that is starting reports its first connection error itself, so do not log it.
        if self._was_connected:
            self._log_error("database_connection_failed", exc)

    def _log_error(self, event: str, exc: BaseException) -> None:
        explanation, now = explain(exc, self.server), time.monotonic()
        if now - self._logged.get((event, explanation), float("-inf")) >= LOG_SECONDS:
            self._logged[event, explanation] = now
            log.error(event, sqlstate=find_sqlstate(exc), reason=describe_kind(exc), detail=explanation)


async def _begin_session(connection: PostgresqlConnection, settings: str, *, is_pooled: bool) -> None:
    """Apply the settings to the session. Raises `PoolerFound` for a pooler that was not configured.

    A pooler reports process ids of its own to clients, because the session behind it may change. The settings are not
    applied to a session that is shared with others.
    """
    condition = "" if is_pooled else f" WHERE pg_backend_pid() = {connection.get_server_pid()}"
    # A simple query needs only one round trip.
    if await connection.execute(settings + condition) != "SELECT 1":
        await connection.close()
        raise PoolerFound


def _is_temporary(exc: BaseException) -> bool:
    """Return whether a connection failure may be temporary, such as that of a restarting server."""
    if find_sqlstate(exc) in STARTING:
        return True
    if is_rejected_by_pooler(exc):
        return False
    is_refused = isinstance(exc, ConnectionRefusedError | ConnectionResetError | FileNotFoundError)
    return is_refused or isinstance(exc, asyncpg.TargetServerAttributeNotMatched | asyncpg.PostgresConnectionError)


def _list_dsn_options(server: Server) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in server.driver_options.items() if name != "passfile")


def _to_milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
