"""Run a small application that returns the certificate of its caller, served like the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from budkavle.settings import Settings
from conftest import running_server
from domain.errors import Unauthenticated
from handlers.security.client_certificates import ClientCertificateMiddleware, read_certificate
from openapi.observation.peers import TrustedProxies


async def _identify(request: Request) -> JSONResponse:
    """Return 200 with the fingerprint, or None without a certificate; 401 with the reason."""
    certificates = request.headers.getlist("client-cert")
    assert len(certificates) <= 1
    try:
        known = read_certificate(certificates[0].encode("latin-1"), datetime.now(UTC)) if certificates else None
    except Unauthenticated as exc:
        return JSONResponse({"error": str(exc)}, 401)
    return JSONResponse({"fingerprint": known})


@contextmanager
def identity_service(**variables: Any) -> Iterator[str]:
    """Yield the address of the application."""
    settings = Settings(**variables)
    proxies = TrustedProxies(settings.trusted_proxies)
    application = ClientCertificateMiddleware(Starlette(routes=[Route("/", _identify)]), proxies)
    with running_server(settings, application, is_service=False) as url:
        yield url
