"""Sign in with a key, and sign out."""

from http import HTTPStatus

import structlog
from starlette.responses import Response

from domain.audit import NO_SYSTEM, AuditEntry
from domain.errors import CallerRefused, LacksScope, TooManyFailures, Unauthenticated
from handlers.operations_page import texts
from handlers.operations_page.page import COOKIE, ROOT, SIGN_IN, Visit, record_refused_sign_in
from openapi.errors.problems import get_headers, get_status
from openapi.observation.peers import PEER
from openapi.requests import CALLER
from persistence import audit

log = structlog.get_logger("budkavle.operations_page")

OPERATION = "operations sign-in"
"""The operation of sign-ins in the audit."""


async def show_sign_in(visit: Visit) -> Response:
    """Show the form for a key."""
    address = _find_next(visit.query.get("next", ""))
    if visit.operator is not None:
        return visit.redirect(address)
    return _render(visit, address)


async def sign_in(visit: Visit) -> Response:
    """Begin a session with a key, and go to the page that was wanted."""
    address = _find_next(visit.form.get("next", ""))
    try:
        cookie, operator = await visit.context.operators.sign_in(
            visit.form.get("key", "").strip(), visit.form.get("name", "").strip()
        )
    except (Unauthenticated, LacksScope) as exc:
        refused: CallerRefused = exc
        if isinstance(exc, Unauthenticated):
            try:
                visit.context.failures.count(exc, visit.request.scope[PEER])
            except TooManyFailures as too_many:
                refused = too_many
        visit.request.scope["budkavle.log"]["reason"] = refused.reason
        await record_refused_sign_in(visit, refused)
        response = _render(visit, address, error=str(refused), status=get_status(refused))
        response.headers.update(get_headers(refused))
        return response
    # Signing in again ends the session that the browser has had until now.
    visit.context.operators.sign_out(visit.request.cookies.get(COOKIE, ""))
    visit.request.scope[CALLER] = operator.build_caller()
    entry = AuditEntry(
        NO_SYSTEM,
        "call",
        visit.now,
        OPERATION,
        operator.name,
        "answered",
        visit.request_id,
        {"address": visit.request.scope[PEER]},
    )
    await audit.record(visit.services.database, entry)
    response = visit.redirect(address)
    response.set_cookie(COOKIE, cookie, path=ROOT, httponly=True, samesite="strict", secure=_is_secure(visit))
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    visit.context.operators.sign_out(visit.request.cookies.get(COOKIE, ""))
    response = visit.redirect(SIGN_IN)
    response.delete_cookie(COOKIE, path=ROOT, httponly=True, samesite="strict", secure=_is_secure(visit))
    return response


def _render(visit: Visit, address: str, *, error: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    # The browser sends no cookie with a link from another page, so a session may exist all the same.
    is_from_elsewhere = visit.request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    values = {"next": address, "error": error, "is_from_elsewhere": is_from_elsewhere}
    return visit.render("sign-in.html", values, status)


def _find_next(address: str) -> str:
    return address if texts.is_next(address) and not address.startswith(SIGN_IN) else ROOT


def _is_secure(visit: Visit) -> bool:
    """Return whether the browser uses HTTPS, also when a trusted proxy ends it."""
    scope = visit.request.scope
    if scope["scheme"] == "https":
        return True
    is_proxy = visit.context.proxies.contains(scope["client"] and scope["client"][0])
    return is_proxy and visit.request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
