"""Map errors of a call to reasons and details."""

import ssl
from collections.abc import Iterator

import aiohttp

from delivery.addresses import AddressRefused
from domain.deliveries import Reason, ReceiverResponse


def map_error(error: Exception, *, is_tls: bool) -> ReceiverResponse:
    """Return the result of an attempt that ended with an error of aiohttp, TLS or the operating system.

    `is_tls` states whether the call uses TLS. The detail never contains bytes from the receiver, because the receiver
    may have echoed our message.
    """
    reason, detail = _map_cause(error, is_tls=is_tls) or _map_type(error, is_tls=is_tls)
    return ReceiverResponse(None, reason, detail=detail)


_CLOSED_BEFORE_WRITING = "Cannot write to closing transport"
"""The text of aiohttp's error for a connection that closed before the request was written."""


def _map_cause(error: Exception, *, is_tls: bool) -> tuple[Reason, str] | None:
    """Return the cause below an error of aiohttp: an address that we rejected, or a TLS error of either side."""
    causes = list(_iterate_causes(error))
    for cause in causes:
        if isinstance(cause, AddressRefused):
            return Reason.ADDRESS, str(cause)
    if is_tls and any(str(cause) == _CLOSED_BEFORE_WRITING for cause in causes):
        # In TLS 1.3 a receiver checks our certificate after our part of the handshake is complete. If the receiver
        # rejects it at once, the connection is closed before the request is written, and uvloop does not report the
        # reason.
        return Reason.TLS, "the receiver closed the connection after the handshake"
    # The last error is the one of TLS itself. aiohttp's TLS errors have the same type but no reason.
    tls_errors = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
    if not tls_errors:
        return None
    return Reason.TLS, getattr(tls_errors[-1], "verify_message", None) or getattr(tls_errors[-1], "reason", None) or ""


def _map_type(error: Exception, *, is_tls: bool) -> tuple[Reason, str]:
    for kind, reason, detail in _KINDS:
        if isinstance(error, kind):
            return reason, detail
    if not isinstance(error, aiohttp.ClientConnectorError):
        return Reason.LOST, ""
    detail = error.os_error.strerror or ""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reason.NAME, detail
    if isinstance(error.os_error, ConnectionResetError | ConnectionAbortedError):
        # A connection must have been established before the peer can reset it.
        return (Reason.TLS, "the handshake was aborted") if is_tls else (Reason.LOST, "")
    return Reason.CONNECT, detail


_KINDS: tuple[tuple[type[Exception], Reason, str], ...] = (
    (aiohttp.ConnectionTimeoutError, Reason.TIMEOUT, "while connecting"),
    (TimeoutError, Reason.TIMEOUT, "while waiting for the response"),
    (aiohttp.NonHttpUrlClientError, Reason.ADDRESS, "not a valid HTTP URL"),
    (aiohttp.InvalidURL, Reason.ADDRESS, "not a valid HTTP URL"),
    (RuntimeError, Reason.CONNECT, "no connection could be made"),
    (aiohttp.ClientResponseError, Reason.GARBAGE, "the response is not HTTP"),
    (aiohttp.ClientPayloadError, Reason.LOST, "the response was truncated"),
)


def _iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
