"""Why a call got no answer."""

import ssl
from collections.abc import Iterator

import aiohttp

from delivery.addresses import AddressRefused
from domain.deliveries import Answer, Reason


def failed(error: Exception, *, is_tls: bool) -> Answer:
    """What an attempt met that ended with an error of aiohttp, of TLS or of the system.

    `is_tls` is whether it was to be a call over TLS. The detail never repeats what the receiver sent: it may have sent
    our message back.
    """
    reason, detail = _refused(error, is_tls=is_tls) or _plain(error, is_tls=is_tls)
    return Answer(None, reason, detail=detail)


_CLOSED_BEFORE_WRITING = "Cannot write to closing transport"
"""What aiohttp says then, and only then."""


def _refused(error: Exception, *, is_tls: bool) -> tuple[Reason, str] | None:
    """What lies below an error of aiohttp: an address that was refused by us, or TLS by either side."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, AddressRefused):
            return Reason.ADDRESS, str(cause)
    if is_tls and any(str(cause) == _CLOSED_BEFORE_WRITING for cause in causes):
        # In TLS 1.3 a receiver looks at our certificate after our side of the handshake is done. If it refuses at once
        # the connection has gone before the request was written, and uvloop does not say why.
        return Reason.TLS, "the connection was ended after the handshake"
    # The last is what TLS itself said; aiohttp's errors of TLS are of the same kind and know no reason.
    said = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
    if not said:
        return None
    return Reason.TLS, getattr(said[-1], "verify_message", None) or getattr(said[-1], "reason", None) or ""


def _plain(error: Exception, *, is_tls: bool) -> tuple[Reason, str]:
    for kind, reason, detail in _KINDS:
        if isinstance(error, kind):
            return reason, detail
    if not isinstance(error, aiohttp.ClientConnectorError):
        return Reason.LOST, ""
    said = error.os_error.strerror or ""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reason.NAME, said
    if isinstance(error.os_error, ConnectionResetError | ConnectionAbortedError):
        # Only what had been connected can be reset before it is used.
        return (Reason.TLS, "the handshake was ended") if is_tls else (Reason.LOST, "")
    return Reason.CONNECT, said


_KINDS: tuple[tuple[type[Exception], Reason, str], ...] = (
    (aiohttp.ConnectionTimeoutError, Reason.TIMEOUT, "while connecting"),
    (TimeoutError, Reason.TIMEOUT, "while waiting for the answer"),
    (aiohttp.NonHttpUrlClientError, Reason.ADDRESS, "no address that can be called"),
    (aiohttp.InvalidURL, Reason.ADDRESS, "no address that can be called"),
    (RuntimeError, Reason.CONNECT, "no connection could be made"),
    (aiohttp.ClientResponseError, Reason.GARBAGE, "the answer is not HTTP"),
    (aiohttp.ClientPayloadError, Reason.LOST, "the answer was cut short"),
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
