"""The limits of every wait on PostgreSQL, in one place (decision 0020)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """Limits of waits in seconds, and sizes of connection pools. The defaults suit a small machine."""

    pool_size: int = 20
    """Connections for short work."""

    long_pool_size: int = 10
    """Connections for long work: syncs, catalogues, exports, audits."""

    connect_timeout: float = 5
    """One attempt to connect to one host."""

    pool_timeout: float = 10
    """How long work waits for a usable connection: for one of the pool, and for a server that restarts."""

    statement_timeout: float = 15
    """One statement of short work. The server cancels it; the client gives up `grace` later."""

    long_statement_timeout: float = 120
    """One statement of long work."""

    lock_timeout: float = 10
    """How long a statement waits for a lock that another transaction holds."""

    health_timeout: float = 3
    """Each step of a health check: connect, statement, check of an idle connection."""

    idle_check: float = 15
    """A connection that was idle for so long is checked before it is used."""

    grace: float = 2
    """How much longer than the server the client waits: only a silent server lets this pass."""
