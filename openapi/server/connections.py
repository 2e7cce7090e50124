"""The connections of one server: their number, and how long each may wait for its client.

A sweep checks all connections once per second, so that connections need no timers. A connection whose request waits
for the service has no limit here: it is queued or runs, or the service does not read its body yet.
"""

import asyncio
import errno
import os
import resource
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from openapi.server.limits import ConnectionLimits

SWEEP_SECONDS = 1.0
STOP_SECONDS = 5.0
"""The time limits while the server stops, unless they are already lower."""

LOG_SECONDS = 10.0
"""Minimum seconds between two log lines about the connection limit."""

RESERVED_DESCRIPTORS = 256
"""File descriptors reserved for the database, files, receivers and Open-E."""

LEAST_CONNECTIONS = 16

WATCH_SECONDS = 30.0
"""Seconds that the sweep continues after accepting a connection: connections are added after their TLS handshake."""

log = structlog.get_logger("budkavle.connections")


class ExceededLimit(StrEnum):
    """The time limit that a client exceeded, so that its connection is closed."""

    HEAD = "head"
    BODY = "body"
    IDLE = "idle"
    READER = "reader"


_LIMIT = "limit"

_CLOSED = Counter("budkavle_closed_connections", "Connections that a limit ended, by reason.", ["reason"])
_OPEN = Gauge("budkavle_open_connections", "Connections that are open.", multiprocess_mode="livesum")
for _reason in (*ExceededLimit, _LIMIT):
    # Create all series at start, so that rates include the first event.
    _CLOSED.labels(str(_reason))


class Connection(Protocol):
    """The interface of a connection for the sweep."""

    def find_exceeded_limit(self, now: float, limits: ConnectionLimits) -> ExceededLimit | None:
        """Return the limit that the client has exceeded, or None."""

    def end(self, reason: ExceededLimit) -> None:
        """Close the connection, with a response that gives the reason if one is due."""

    def close(self) -> None:
        """Close a connection without a running request. Its client may read the rest of a response for a moment."""


class Connections:
    """The open connections of one server, used by its running event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._max_open = min(limits.connections, max(LEAST_CONNECTIONS, _get_descriptor_limit() - RESERVED_DESCRIPTORS))
        self._sweep_seconds = min(
            SWEEP_SECONDS,
            *(
                each / 4
                for each in (limits.head_seconds, limits.body_seconds, limits.idle_seconds, limits.reader_seconds)
            ),
        )
        self._shortened = replace(
            limits,
            head_seconds=min(limits.head_seconds, STOP_SECONDS),
            body_seconds=min(limits.body_seconds, STOP_SECONDS),
            reader_seconds=min(limits.reader_seconds, STOP_SECONDS),
        )
        self._open: set[Connection] = set()
        # Connections without a complete request, ordered by the start of that state.
        self._waiting: dict[Connection, None] = {}
        self._is_sweeping = False
        self._closed = 0
        self._next_line = 0.0
        self._next_descriptor_line = 0.0
        self._accepted = 0.0

    def accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a connection that was accepted. Over TLS it is added only after its handshake."""
        self._accepted = loop.time()
        if not self._is_sweeping:
            self._is_sweeping = True
            loop.call_later(self._sweep_seconds, self._sweep, loop)

    def add(self, connection: Connection) -> None:
        """Add a connection. Above the limit, close the one that has waited longest for its client."""
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) > self._max_open:
            self._evict(next(iter(self._waiting)))
        _OPEN.inc()

    def discard(self, connection: Connection) -> None:
        """Remove a closed connection."""
        _OPEN.dec()
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def record_request_start(self, connection: Connection) -> None:
        """Record that a complete request arrived: the connection now waits for the service."""
        self._waiting.pop(connection, None)

    def record_request_end(self, connection: Connection) -> None:
        """Record that the request has ended: the connection now waits for its client."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def shorten_limits(self) -> None:
        """Shorten the time limits, because the server stops."""
        self.limits = self._shortened

    def _evict(self, connection: Connection) -> None:
        self._open.discard(connection)
        del self._waiting[connection]
        self._closed += 1
        _CLOSED.labels(_LIMIT).inc()
        connection.close()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self._open):
            reason = connection.find_exceeded_limit(now, self.limits)
            if reason is not None:
                _CLOSED.labels(str(reason)).inc()
                connection.end(reason)
        if self._closed and now >= self._next_line:
            log.warning("connection_limit_reached", limit=self._max_open, closed=self._closed)
            self._closed, self._next_line = 0, now + LOG_SECONDS
        if now >= self._next_descriptor_line and not _has_descriptor():
            # In this state the event loop closes accepted connections without reporting it.
            log.error("file_descriptors_exhausted", limit=_get_descriptor_limit(), open_connections=len(self._open))
            self._next_descriptor_line = now + LOG_SECONDS
        self._is_sweeping = bool(self._open or self._closed) or now - self._accepted < WATCH_SECONDS
        if self._is_sweeping:
            loop.call_later(self._sweep_seconds, self._sweep, loop)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit: each connection uses one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _get_descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _has_descriptor() -> bool:
    """Return whether the process can open one more file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno not in {errno.EMFILE, errno.ENFILE}
    return True


_UNLIMITED = 1 << 20
