"""One request of a browser: identify the operator, check the form, call the view, and show its result or error."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from domain.audit import NO_SYSTEM, AuditEntry
from domain.errors import (
    BudkavleError,
    CallerRefused,
    Forbidden,
    Invalid,
    NotFound,
    RefusalReason,
    StorageFailed,
)
from domain.log_texts import redact_for_log
from handlers.audit import record_refusal
from handlers.operations_page import texts
from handlers.operations_page.forms import check_origin, parse_fields, read_form
from handlers.operations_page.history_watch import HistoryWatch
from handlers.operations_page.operators import Operator, Operators
from handlers.operations_page.results import Result, Results
from handlers.requests import Services
from handlers.security.client_certificates import HEADER
from openapi.error_handling import count_refusal
from openapi.errors.problems import get_headers, get_phrase, get_status
from openapi.observation.peers import PEER, TrustedProxies, compute_source
from openapi.observation.source_limits import FailureLimit
from openapi.pages.rendering import Pages
from openapi.requests import CALLER

log = structlog.get_logger("budkavle.operations_page")

ROOT = "/operations"
SIGN_IN = f"{ROOT}/sign-in"
COOKIE = "budkavle-operations"

OPERATION = "operationsPage"
"""The operation of refused sign-ins in the audit."""

CHANGES_OFF = "This page is read-only here: BUDKAVLE_OPERATIONS_CHANGES is not set."
_OLD_FORM = "This form is too old, or another page has sent it. Go back, reload, and try again."
NO_RIGHT = "Your key may only read: it needs the scope operations."


@dataclass(frozen=True, slots=True)
class Context:
    """The dependencies that all requests share."""

    services: Services
    pages: Pages
    operators: Operators
    failures: FailureLimit
    proxies: TrustedProxies
    allows_changes: bool
    history: HistoryWatch
    results: Results = field(default_factory=Results)


@dataclass(slots=True)
class Visit:
    """One request of a browser. `form` has the fields of a POST, `query` those of the address."""

    context: Context
    request: Request
    now: datetime
    query: Mapping[str, str]
    operator: Operator | None = None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        """The dependencies of the service."""
        return self.context.services

    @property
    def request_id(self) -> str:
        """The id of this request, which audit entries have."""
        id_: str = self.request.scope["budkavle.request_id"]
        return id_

    @property
    def caller(self) -> str:
        """The name of the operator, for the audit."""
        return self.operator.name if self.operator else "-"

    @property
    def obstacle(self) -> str:
        """The reason why this operator may change nothing here; empty if changes are allowed."""
        if not self.context.allows_changes:
            return CHANGES_OFF
        return "" if self.operator is not None and self.operator.may_change else NO_RIGHT

    def get_parameter(self, name: str) -> str:
        """Return a parameter of the path."""
        value: str = self.request.path_params[name]
        return value

    def get_id(self) -> str:
        """Return the UUID of the path in lower case. Raises `NotFound` if it is none."""
        value = self.get_parameter("id").lower()
        if not texts.is_uuid(value):
            raise NotFound("This is not an id: ids are 8-4-4-4-12 hexadecimal digits.")
        return value

    def render(
        self, template: str, values: Mapping[str, Any] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        """Return a page."""
        shared = {
            "operator": self.operator,
            "obstacle": self.obstacle,
            "token": self.context.operators.build_token(self.operator) if self.operator else "",
            "now": self.now,
            "age": partial(texts.describe_age, self.now),
            "text": texts,
            "searched": "",
        }
        # The layer for all responses adds Cache-Control.
        response = self.context.pages.render(template, {**shared, **(values or {})}, status=status, cache_control=None)
        # With `no-referrer` browsers hide the origin of forms, which `check_origin` compares.
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    def redirect(self, address: str) -> Response:
        """Return the answer that sends the browser to another page."""
        return RedirectResponse(address, HTTPStatus.SEE_OTHER)

    def finish(
        self, title: str, sentences: Sequence[str], links: Sequence[tuple[str, str]], *, tone: str = "good"
    ) -> Response:
        """Remember what an action did, and send the browser to the page that says so."""
        self.context.results.add(self.caller, self.request_id, Result(title, tone, sentences, links))
        return self.redirect(f"{ROOT}/results/{self.request_id}")


View = Callable[[Visit], Awaitable[Response]]


class Endpoint:
    """The views of one path, as an ASGI application."""

    def __init__(
        self,
        context: Context,
        name: str,
        *,
        show: View | None = None,
        change: View | None = None,
        post: View | None = None,
        is_open: bool = False,
    ) -> None:
        """`change` needs the right to change something, `post` does not. `is_open` needs no operator.

        `name` is the name of the page in the log.
        """
        self._context = context
        self._name = name
        self._views = {
            method: view
            for method, view in (("GET", show), ("HEAD", show), ("POST", change or post))
            if view is not None
        }
        self._is_change = change is not None
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        scope["budkavle.log"]["page"] = self._name
        visit = Visit(self._context, request, self._context.services.now(), {})
        try:
            response = await self._respond(visit, receive)
        except BudkavleError as error:
            response = await render_error(visit, error)
        await response(scope, receive, send)

    async def _respond(self, visit: Visit, receive: Receive) -> Response:
        request = visit.request
        visit.query = parse_fields(request.scope["query_string"])
        visit.operator = await identify(visit)
        view = self._views.get(request.method)
        if view is None:
            allowed = ", ".join(self._views)
            response = visit.render(
                "error.html",
                {"title": "Method not allowed", "sentences": [f"This address accepts {allowed}."]},
                HTTPStatus.METHOD_NOT_ALLOWED,
            )
            response.headers["Allow"] = allowed
            return response
        if visit.operator is not None:
            request.scope[CALLER] = visit.operator.build_caller()
        elif not self._is_open:
            return visit.redirect(texts.build_address(SIGN_IN, next=texts.write_next(request)))
        if request.method == "POST":
            check_origin(request)
            visit.form = await read_form(request, receive)
            if visit.operator is not None and not self._is_open:
                self._check_form(visit, visit.operator)
        return await view(visit)

    def _check_form(self, visit: Visit, operator: Operator) -> None:
        if not self._context.operators.is_token(operator, visit.form.get("token", "")):
            raise Forbidden(RefusalReason.NO_KEY, _OLD_FORM)
        if self._is_change and visit.obstacle:
            raise Forbidden(RefusalReason.KEY_LACKS_SCOPE, visit.obstacle)


async def identify(visit: Visit) -> Operator | None:
    """Return the signed-in operator of a request."""
    # The header is trustworthy here: `ClientCertificateMiddleware` has replaced it, and leaves at most one.
    certificate = next((value for name, value in visit.request.scope["headers"] if name == HEADER), None)
    return await visit.context.operators.identify(visit.request.cookies.get(COOKIE), certificate)


async def record_refused_sign_in(visit: Visit, error: CallerRefused) -> None:
    """Count a refused sign-in in metrics and for the audit, as those of API callers."""
    count_refusal(error.reason)
    peer = visit.request.scope[PEER]
    entry = AuditEntry(
        chain=NO_SYSTEM,
        kind="call",
        time=visit.now,
        operation=OPERATION,
        caller=f"ip:{compute_source(peer)}",
        outcome="refused",
        request_id=visit.request_id,
        detail={"status": int(get_status(error)), "errors": 1},
    )
    await record_refusal(visit.services, entry, error.reason, peer)


async def render_error(visit: Visit, error: BudkavleError) -> Response:
    """Return the page of an error."""
    status = get_status(error)
    visit.request.scope["budkavle.log"]["error"] = type(error).__name__
    sentences = [str(error)]
    if isinstance(error, Invalid):
        sentences = [f"{each.field}: {each.message}" for each in error.violations]
    if isinstance(error, StorageFailed):
        sentences.append(error.explanation or "The log of this process has the cause. Try again in a few seconds.")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning(
            "request_failed",
            request_id=visit.request_id,
            error=type(error).__name__,
            detail=getattr(error, "explanation", "") or redact_for_log(str(error)),
            reason=getattr(error, "reason", ""),
        )
    response = visit.render("error.html", {"title": get_phrase(status), "sentences": sentences}, status)
    response.headers.update(get_headers(error))
    return response


async def show_result(visit: Visit) -> Response:
    """Show what an action of this operator did."""
    result = visit.context.results.find(visit.caller, visit.get_parameter("id"))
    if result is None:
        raise NotFound("The result of this action is no longer known. The audit has what was changed.")
    return visit.render("result.html", {"current": None, "result": result, "request_id": visit.get_parameter("id")})


async def show_missing(_visit: Visit) -> Response:
    """Raise `NotFound` for an address that does not exist."""
    raise NotFound("There is no such page.")
