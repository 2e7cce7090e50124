"""Authentication by client certificate: validate the source of the header `Client-Cert` (RFC 9440), and parse it."""

import binascii
import hashlib
import re
import warnings
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import structlog
from cryptography import x509
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import RefusalReason, Unauthenticated
from openapi.observation.peers import TrustedProxies
from openapi.observation.source_limits import LineLimit

log = structlog.get_logger("budkavle.client_certificates")

HEADER = b"client-cert"

LINES_PER_SECOND = 10
"""Maximum log lines per second about removed headers, so that callers cannot fill the disk."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")


class ClientCertificateMiddleware:
    """Reduces a request to at most one `Client-Cert` header: the certificate of the caller.

    A listed proxy forwards certificates of its callers: its header is kept, and the certificate of its own connection
    is ignored. For all other callers, the header is removed or replaced by the certificate of their connection.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._lines = LineLimit(LINES_PER_SECOND)

    # A server takes an application for one of ASGI 2 unless this is a coroutine function.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._replace_header(scope)
        await self._app(scope, receive, send)

    def _replace_header(self, scope: Scope) -> None:
        given = [value for name, value in scope["headers"] if name == HEADER]
        own: bytes | None = scope.get("extensions", {}).get("tls", {}).get("client_certificate")
        if not given and own is None:
            return
        value: bytes | None = None
        if self._proxies.contains(scope["client"] and scope["client"][0]):
            # Several headers are invalid even if they are equal: `read_certificate` rejects the result.
            value = b", ".join(given) if given else None
        else:
            if given:
                self._log_removal(scope)
            if own is not None:
                value = b":%s:" % binascii.b2a_base64(own, newline=False)
        headers = [header for header in scope["headers"] if header[0] != HEADER]
        scope["headers"] = headers if value is None else [*headers, (HEADER, value)]

    def _log_removal(self, scope: Scope) -> None:
        suppressed = self._lines.admit_line()
        if suppressed is not None:
            log.warning(
                "client_cert_header_removed",
                peer=scope["client"] and scope["client"][0],
                request_id=scope.get("budkavle.request_id"),
                **({"suppressed": suppressed} if suppressed else {}),
            )


def read_certificate(value: bytes, now: datetime) -> str:
    """Return the fingerprint of the certificate in a `Client-Cert` header: SHA-256 of its DER, in lower-case hex.

    Accepts RFC 9440 (`:base64 of the DER:`), and the formats of proxies without it: the certificate as PEM, URL-encoded
    (nginx, Envoy) or with spaces instead of line breaks (Apache). Raises `Unauthenticated` unless there is exactly one
    certificate, valid at `now`.
    """
    certificate = _parse(value)
    if not certificate.begins <= now <= certificate.ends:
        raise Unauthenticated(
            RefusalReason.CERTIFICATE_OUTSIDE_DATES, "The client certificate is outside its validity period"
        )
    return certificate.fingerprint


class _Certificate(NamedTuple):
    fingerprint: str
    begins: datetime
    ends: datetime


@lru_cache(maxsize=512)
def _parse(value: bytes) -> _Certificate:
    try:
        der = _decode(value)
        with warnings.catch_warnings():
            # Unusual certificates, for example with a negative serial number, can still be identified.
            warnings.simplefilter("ignore")
            parsed = x509.load_der_x509_certificate(der)
        begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    except (ValueError, x509.InvalidVersion) as exc:
        raise Unauthenticated(RefusalReason.CERTIFICATE_UNREADABLE, "The client certificate cannot be read") from exc
    return _Certificate(hashlib.sha256(der).hexdigest(), begins, ends)


def _decode(value: bytes) -> bytes:
    if value.startswith(b":"):
        if not value.endswith(b":"):
            raise ValueError("no end")
        text = value[1:-1]
    else:
        pem = _PEM.fullmatch(unquote_to_bytes(value))
        if pem is None:
            raise ValueError("no PEM")
        text = b"".join(pem[1].split())
    return binascii.a2b_base64(text, strict_mode=True)
