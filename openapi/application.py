"""Assemble contracts into one ASGI application, with the few layers of Connexion that a request needs."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import inflection
import structlog
import yaml
from connexion.exceptions import ProblemException
from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.main import API
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import BudkavleError, CallerRefused, Invalid, RefusalReason
from domain.log_texts import redact_for_log
from openapi.contracts import FORM, Contract
from openapi.errors import problem_replies
from openapi.errors.faults import count
from openapi.errors.forms import PROBLEMS, ErrorForm
from openapi.observation.middleware import REQUEST_ID_HEADER, VIOLATIONS
from openapi.requests import CALL, Handler
from openapi.validation import REQUEST

log = structlog.get_logger("budkavle.errors")

_REFUSED = Counter("budkavle_refused_requests", "Requests of callers without access, by reason.", ["reason"])
for _reason in RefusalReason:
    # Create all series at start, so that rates include the first rejection.
    _REFUSED.labels(_reason)

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

MANY_ERRORS = 200
"""A response with more errors is encoded in a thread."""


def assemble(middlewares: list[Any], routes: list[BaseRoute], **options: Any) -> Any:
    """Return Connexion with these layers, our handlers and our error responses. Contracts are added to it later."""
    application = _Application(_Handlers(routes), middlewares=middlewares, **options)
    for kind in (BudkavleError, ProblemException, HTTPException, Exception):
        application.add_error_handler(kind, _on_error)
    return application


def read_spec(spec_dir: Path, name: str) -> dict[str, Any]:
    """Return a contract by the name of its file."""
    spec: dict[str, Any] = yaml.load((spec_dir / f"{name}.yaml").read_bytes(), Loader=_YamlLoader)  # noqa: S506  # Either loader is a safe one.
    return spec


# The loader in C parses a contract ten times faster.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PublishedContract(OpenAPISpecification):  # type: ignore[misc]  # Connexion has no types.
    """A contract that is part of this program. `make check` validates it, so a start need not.

    Validation would take most of the start-up time of an application, a fifth of a second.
    """

    @classmethod
    def _validate_spec(cls, spec: dict[str, Any]) -> None:
        pass


class _Application(ConnexionMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Connexion for contracts of this program."""

    def add_api(self, specification: dict[str, Any], **options: Any) -> None:
        """Add a contract. `options` are passed on to the middlewares."""
        resolver = _HandlerResolver(options["contract"])
        options = {**self.options.__dict__, "resolver": resolver, **options}
        self.apis.append(API(_PublishedContract(specification), base_path=None, **options))


class _HandlerResolver(Resolver):  # type: ignore[misc]  # Connexion has no types.
    """Maps the published id `createWebMessage` to the function `create_web_message` in the modules of a contract."""

    def __init__(self, contract: Contract) -> None:
        self._modules = contract.modules
        super().__init__(self._find)

    def resolve_operation_id(self, operation: Any) -> str:
        name: str = inflection.underscore(operation.operation_id)
        return name

    def _find(self, name: str) -> Handler:
        found: list[Handler] = [vars(module)[name] for module in self._modules if name in vars(module)]
        if len(found) != 1:
            raise ValueError(f"{len(found)} handlers are called {name}")
        return found[0]


class _HandlerApi(RoutedAPI):  # type: ignore[misc]  # Connexion has no types.
    """The handlers of one contract."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_paths()

    def make_operation(self, operation: Any) -> ASGIApp:
        return partial(_call, operation.function)


async def _call(handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    request = scope[REQUEST]
    response = await handler(request)
    response.headers[scope[REQUEST_ID_HEADER]] = request.request_id
    await response(scope, receive, send)


class _Handlers(RoutedMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """The innermost layer: it calls the handler of an operation, or else serves the documentation pages."""

    api_cls = _HandlerApi

    def __init__(self, routes: list[BaseRoute]) -> None:
        super().__init__(Router(routes, redirect_slashes=False, default=_not_found))


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem_replies.not_found()(scope, receive, send)


async def _on_error(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    """Convert any error to a response. Only internal errors log a traceback."""
    fields = request.scope["budkavle.log"]
    form: ErrorForm = request.scope.get(FORM, PROBLEMS)
    if isinstance(error, BudkavleError):
        fields["error"] = type(error).__name__
        if isinstance(error, Invalid):
            fields[VIOLATIONS] = error.violations
        errors = count(error)
        reason = error.reason if isinstance(error, CallerRefused) else None
        if reason is not None:
            fields["reason"] = reason
            _REFUSED.labels(reason).inc()
        if CALL in request.scope:
            request.scope[CALL].errors, request.scope[CALL].reason = errors, reason
        response = form.failed(error) if errors <= MANY_ERRORS else await asyncio.to_thread(form.failed, error)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # A handler that adds data to an error keeps the cause as its `__cause__`.
            cause = getattr(error, "reason", "") or getattr(error.__cause__, "reason", "")
            detail = getattr(error, "explanation", "") or redact_for_log(str(error))
            log.warning(
                "failed",
                request_id=request.scope["budkavle.request_id"],
                error=type(error).__name__,
                detail=detail,
                reason=cause,
            )
    elif isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The error comes from a documentation page: errors of contract paths never get here.
        response = problem_replies.method_not_allowed("GET, HEAD")
    elif isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        response = problem_replies.not_found()
    else:
        log.error("unexpected", request_id=request.scope["budkavle.request_id"], exc_info=error)
        response = form.unexpected()
    return ConnexionResponse(
        status_code=response.status_code, body=bytes(response.body), headers=dict(response.headers.items())
    )
