"""The limits of a server. They are a module of their own, so that settings import no server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Time limits for clients, and the maximum connections of one server."""

    head_seconds: float = 30
    """Seconds from the first byte of a request to the end of its head."""

    body_seconds: float = 30
    """Seconds without receiving a byte of an incomplete body."""

    idle_seconds: float = 65
    """Seconds without a request."""

    reader_seconds: float = 30
    """Seconds in which the client reads no byte of a response."""

    connections: int = 4096
