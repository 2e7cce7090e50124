"""The names of headers that operators may add to each delivery to a system."""

import re

MAX_HEADERS = 16
"""Maximum headers of one system."""

MAX_NAME = 64
"""Maximum characters of a name."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)

_RESERVED = frozenset(
    {
        # Set by the service for each delivery.
        "accept",
        "accept-encoding",
        "content-type",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-request-id",
        "x-requestid",
        # Framing, routing and the connection itself (RFC 9110 and RFC 9112).
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # The service keeps no sessions.
        "cookie",
        "cookie2",
    }
)
_RESERVED_PREFIXES = ("webhook-", "proxy-")


def find_name_fault(name: str) -> str | None:
    """Return the reason why a header must not have this name, None if it may."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        return f"must be the name of a header: at most {MAX_NAME} letters, digits and hyphens"
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
        return "is reserved: the service sets it, or it belongs to the connection"
    return None
