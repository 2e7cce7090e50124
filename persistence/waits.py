"""The timeouts of all waits on PostgreSQL (decision 0020)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """Timeouts in seconds, and sizes of connection pools. The defaults suit a small machine."""

    pool_size: int = 20
    """Connections for short work."""

    long_pool_size: int = 10
    """Connections for long work: syncs, catalogues, exports, audits."""

    connect_timeout: float = 5
    """Timeout of one attempt to connect to one host."""

    pool_timeout: float = 10
    """Timeout of a wait for a usable connection, from the pool or from a restarting server."""

    statement_timeout: float = 15
    """Timeout of one statement of short work. The server cancels it; the client gives up `grace` seconds later."""

    long_statement_timeout: float = 120
    """Timeout of one statement of long work."""

    lock_timeout: float = 10
    """Timeout of a statement's wait for a lock of another transaction."""

    health_timeout: float = 3
    """Timeout of each step of a health check: connect, statement, check of an idle connection."""

    idle_check: float = 15
    """A connection that was idle for this time is checked before it is used."""

    grace: float = 2
    """Additional seconds that the client waits after the server's timeout; only an unresponsive server exceeds them.

    """
