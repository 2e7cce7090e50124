"""Assign an id to each request, count it and log one line about it: ids, status, duration, never content."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from connexion.middleware.abstract import ROUTING_CONTEXT
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import IssuerKeysMissing, Violation
from domain.tracing import Span, SpanKind, Tracer
from openapi.contracts import FORM
from openapi.errors.forms import PROBLEMS, ErrorForm
from openapi.observation.log_names import LogNames
from openapi.observation.peers import PEER, TrustedProxies
from openapi.observation.source_limits import AnonymousLines
from openapi.requests import CALLER
from openapi.routing import canonicalise_path

log = structlog.get_logger("budkavle.requests")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,46}")
_HEADER = b"x-request-id"
_HEADER_OF_V1 = b"x-requestid"
"""Published as `x-requestId`. Header names are case-insensitive."""
_HEADERS = {_HEADER, _HEADER_OF_V1}

_NO_STORE = ((b"cache-control", b"no-store"),)
"""Caches must not store responses of the service, because most contain personal data.

Source: RFC 9111, section 5.2.2.5. The contracts under `/docs` may be cached.
"""

# In Python 3.11, each access to a member of `HTTPStatus` calls a function of Python.
_BAD_REQUEST = int(HTTPStatus.BAD_REQUEST)
_SERVER_ERROR = int(HTTPStatus.INTERNAL_SERVER_ERROR)

STATUS = "budkavle.status"
"""The key of the response's status in an ASGI scope, 0 until the response begins."""

TRACE_PARENT = "budkavle.trace_parent"
"""The key of the trace context in an ASGI scope: that of the request's own span, or without one of the caller's."""

VIOLATIONS = "violations"
"""The key of the request's violations in its log fields, until the line is written."""

_REQUESTS = Counter("budkavle_requests", "Requests by operation and status.", ["operation", "status"])
_DURATION = Histogram("budkavle_request_duration_seconds", "Duration of requests in seconds.", ["operation"])
_NO_OPERATION = "none"
"""The label of all unknown paths and methods, so that callers cannot create labels."""


class ObservationMiddleware:
    """The outermost layer. Without `names` it only assigns ids to requests.

    `form_of_v1` is the form of errors below `/v1` while the operation of a request is unknown.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: LogNames | None = None,
        proxies: TrustedProxies | None = None,
        is_draining: Callable[[], bool] | None = None,
        form_of_v1: ErrorForm = PROBLEMS,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._form_of_v1 = form_of_v1
        self._is_draining = is_draining
        self._names = names
        self._proxies = proxies or TrustedProxies()
        self._anonymous_lines = AnonymousLines()
        # Bound once: binding for each line takes as long as writing it.
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        raw_path = scope.get("raw_path") or scope["path"].encode()
        header = get_header_name(raw_path)
        request_id = _read_request_id(scope["headers"], header)
        fields: dict[str, Any] = {}
        scope[STATUS] = 0
        scope.setdefault("extensions", {})
        scope["budkavle.request_id"] = request_id
        scope["budkavle.log"] = fields
        scope[PEER] = self._proxies.find_peer(scope)
        scope[TRACE_PARENT] = read_trace_parent(scope["headers"])
        span = None
        if self._tracer is not None:
            span = self._tracer.start("request", SpanKind.SERVER, scope[TRACE_PARENT])
            scope[TRACE_PARENT] = span.trace_parent

        def observe_and_send(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                scope[STATUS] = int(message["status"])
                message["headers"] = [
                    *message["headers"],
                    *self._build_headers(raw_path),
                    (header, request_id.encode()),
                ]
            return send(message)

        try:
            await self._app(scope, receive, observe_and_send)
        except asyncio.CancelledError:
            if not scope[STATUS]:
                # The server stops and cancels running requests. Its own response would have another form.
                form: ErrorForm = scope.get(FORM, self._form_of_v1 if header == _HEADER_OF_V1 else PROBLEMS)
                await form.render_internal_error()(scope, receive, observe_and_send)
                # Do not raise again: the server would log a traceback for each request.
        finally:
            if span is not None:
                _end_span(span, scope)
            if self._names is not None:
                self._observe(self._names, scope, time.perf_counter() - begun)

    def _observe(self, names: LogNames, scope: Scope, seconds: float) -> None:
        """Count a request, and log it unless the limit of lines about unauthenticated callers is reached."""
        status: int = scope[STATUS]
        operation, fields = _find_operation_id(scope["extensions"]), scope["budkavle.log"]
        _count(operation, status, seconds)
        caller = scope.get(CALLER)
        is_failure = status >= _SERVER_ERROR and fields.get("error") != IssuerKeysMissing.__name__
        is_anonymous = caller is None and not is_failure
        suppressed = self._anonymous_lines.admit_line(scope[PEER]) if is_anonymous else 0
        if suppressed is None:
            return
        if suppressed:
            fields["suppressed"] = suppressed
        if caller is not None:
            fields["caller"] = caller.name
        if status >= _BAD_REQUEST:
            raw_path = scope.get("raw_path") or scope["path"].encode()
            fields |= _collect_refusal_fields(names, scope, raw_path, fields.pop(VIOLATIONS, ()))
        self._log.info(
            "request",
            operation=operation,
            method=scope["method"][:16],
            status=status,
            milliseconds=round(seconds * 1000, 1),
            request_id=scope["budkavle.request_id"],
            **fields,
        )

    def _build_headers(self, raw_path: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers of all responses, regardless of the operation."""
        headers = () if self._names is None or _is_docs(raw_path) else _NO_STORE
        if self._is_draining is not None and self._is_draining():
            # The next request of this client should reach another process.
            return (*headers, (b"connection", b"close"))
        return headers


def _is_docs(raw_path: bytes) -> bool:
    return raw_path.startswith(b"/docs") and raw_path[5:6] in {b"", b"/"}


def _collect_refusal_fields(
    names: LogNames, scope: Scope, raw_path: bytes, violations: Iterable[Violation]
) -> dict[str, Any]:
    """Return the log fields that identify the caller of a rejected request, and its faulty fields."""
    refusal = {"path": names.redact_path(raw_path), "peer": scope[PEER]}
    return {**refusal, "fields": names.list_fields(violations)} if violations else refusal


_NOT_TRACED = frozenset({"get_health_live", "get_health_ready", "get_metrics"})
"""Operations that monitoring calls all the time. Their spans do not end, so they are not recorded."""


def _end_span(span: Span, scope: Scope) -> None:
    operation, status, fields = _find_operation_id(scope["extensions"]), scope[STATUS], scope["budkavle.log"]
    if operation in _NOT_TRACED:
        return
    # No path and no peer, which can identify persons.
    attributes = {
        "http.request.method": scope["method"][:16],
        "http.response.status_code": status or None,
        "budkavle.operation": operation,
        "budkavle.request_id": scope["budkavle.request_id"],
        "budkavle.message_id": fields.get("message_id"),
        "budkavle.event_id": fields.get("event_id"),
    }
    is_failure = status >= _SERVER_ERROR or not status
    span.end(attributes, str(status) if is_failure else None, operation or _UNKNOWN_OPERATION)


_UNKNOWN_OPERATION = "unknown operation"


def _find_operation_id(extensions: dict[str, Any]) -> str | None:
    operation_id: str | None = extensions.get(ROUTING_CONTEXT, {}).get("operation_id")
    return operation_id and operation_id.rpartition(".")[2]


_counters: dict[tuple[str | None, int], tuple[Counter, Histogram]] = {}
"""Metrics by operation and status, because looking them up by labels takes several times as long."""


def _count(operation: str | None, status: int, seconds: float) -> None:
    bound = _counters.get((operation, status))
    if bound is None:
        name = operation or _NO_OPERATION
        bound = _counters[operation, status] = (_REQUESTS.labels(name, str(status)), _DURATION.labels(name))
    requests, duration = bound
    requests.inc()
    duration.observe(seconds)


def get_header_name(raw_path: bytes) -> bytes:
    """Return the name of the request id header for a path, also for unknown paths."""
    path = canonicalise_path(raw_path) if b"%" in raw_path else raw_path.decode("latin-1").split("?", 1)[0]
    return _HEADER_OF_V1 if path == "/v1" or path.startswith("/v1/") else _HEADER


def _read_request_id(headers: list[tuple[bytes, bytes]], header: bytes) -> str:
    """Return the caller's request id: from the contract's own header, otherwise from that of the other contracts."""
    found = [(name, value) for name, value in headers if name in _HEADERS and _REQUEST_ID.fullmatch(value)]
    if found:
        _, value = next((each for each in found if each[0] == header), found[0])
        return value.decode()
    # An id is no secret, and random bytes of the operating system would take most of the time here.
    return f"{random.getrandbits(128):032x}"


def read_trace_parent(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the W3C trace context of a request (`traceparent`), None if it is absent, repeated or malformed.

    Source: W3C Trace Context, section 3.2.
    """
    values = [value for name, value in headers if name == b"traceparent"]
    return values[0].decode() if len(values) == 1 and _TRACE_PARENT.fullmatch(values[0]) else None


_TRACE_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
