"""The limits of a server. They are a module of their own, so that settings import no server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Time limits for clients in seconds, and the maximum connections of one server."""

    head_seconds: float = 30
    """From the first byte of a request to the end of its head."""

    body_seconds: float = 30
    """Without receiving a byte of an incomplete body."""

    idle_seconds: float = 65
    """Without a request."""

    reader_seconds: float = 30
    """Without the client reading a byte of a response."""

    connections: int = 4096
