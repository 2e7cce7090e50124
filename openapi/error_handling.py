"""Convert the errors of a request to responses, in the form of its contract."""

import asyncio
from http import HTTPStatus

import structlog
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import (
    BudkavleError,
    CallerRefused,
    Invalid,
    IssuerKeysMissing,
    RefusalReason,
    TokenRejected,
)
from domain.log_texts import redact_for_log
from openapi.contracts import FORM
from openapi.errors import problem_replies
from openapi.errors.faults import count
from openapi.errors.forms import PROBLEMS, ErrorForm
from openapi.observation.middleware import STATUS, VIOLATIONS
from openapi.requests import CALL

log = structlog.get_logger("budkavle.errors")

_REFUSED = Counter("budkavle_refused_requests", "Requests of callers without access, by reason.", ["reason"])
for _reason in RefusalReason:
    # Create all series at start, so that rates include the first rejection.
    _REFUSED.labels(_reason)


def count_refusal(reason: RefusalReason) -> None:
    """Count the refusal of a caller, for a page that renders its own errors."""
    _REFUSED.labels(reason).inc()


MANY_ERRORS = 200
"""A response with more errors is encoded in a thread."""


class ErrorMiddleware:
    """Responds to errors of the inner layers, unless the response has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http" or scope[STATUS]:
                raise
            response = await _build_response(error, scope)
            await response(scope, receive, send)


async def _build_response(error: Exception, scope: Scope) -> Response:
    """Convert any error to a response. Only internal errors log a traceback."""
    fields = scope["budkavle.log"]
    form: ErrorForm = scope.get(FORM, PROBLEMS)
    if isinstance(error, BudkavleError):
        fields["error"] = type(error).__name__
        if isinstance(error, Invalid):
            fields[VIOLATIONS] = error.violations
        errors = count(error)
        reason = error.reason if isinstance(error, CallerRefused) else None
        if reason is not None:
            fields["reason"] = reason
            count_refusal(reason)
        if isinstance(error, TokenRejected):
            fields["token_fault"] = error.fault
        if CALL in scope:
            scope[CALL].errors, scope[CALL].reason = errors, reason
        response = (
            form.render_error(error) if errors <= MANY_ERRORS else await asyncio.to_thread(form.render_error, error)
        )
        # Callers without access could fill the log; the fetches of the keys log their failures.
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, IssuerKeysMissing):
            # A handler that adds data to an error keeps the cause as its `__cause__`.
            cause = getattr(error, "reason", "") or getattr(error.__cause__, "reason", "")
            detail = getattr(error, "explanation", "") or redact_for_log(str(error))
            log.warning(
                "request_failed",
                request_id=scope["budkavle.request_id"],
                error=type(error).__name__,
                detail=detail,
                reason=cause,
            )
    elif isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Only documentation pages raise this error.
        response = problem_replies.render_method_not_allowed("GET, HEAD")
    elif isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        response = problem_replies.render_not_found()
    else:
        log.error("unexpected_error_raised", request_id=scope["budkavle.request_id"], exc_info=error)
        response = form.render_internal_error()
    return response
