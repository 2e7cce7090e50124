"""Validate a request against its contract and pass it, decoded, to the handler.

Violations of path, query and body are collected; the handler adds those of the domain rules. The order of checks is:
authentication (in an earlier layer), media type and size, authorisation, then everything else.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.callers import ANONYMOUS, CallerKind
from domain.errors import LacksScope, RefusalReason, UnsupportedMediaType
from openapi.bodies.budget import BodyBudget, Reservation
from openapi.bodies.multipart_reader import MESSAGE_FORM, FormLayout
from openapi.bodies.receiving import JSON, MULTIPART, Allowance, receive_body
from openapi.contracts import Contract
from openapi.errors.faults import Unreadable
from openapi.errors.forms import ErrorForm
from openapi.list_schemas import ListSchema, compile_body_schema
from openapi.observation.middleware import TRACE_PARENT
from openapi.parameters import Parameters
from openapi.requests import CALL, CALLER, SERVICES, AuditedCall, Decoded
from openapi.schemas import Schema
from openapi.start_limiter import StartLimiter

REQUEST = "budkavle.request"
"""The key of the decoded request in an ASGI scope."""


@dataclass(frozen=True, slots=True)
class _CompiledOperation:
    """The parameters and the body of an operation. It has no state, so that all services of a process share it."""

    parameters: Parameters
    allowance: Allowance | None
    schema: Schema | ListSchema | None


def _compile_operation(
    operation: Any, raw: dict[str, Any], components: dict[str, Any], form: ErrorForm
) -> _CompiledOperation:
    body = raw.get("requestBody")
    return _CompiledOperation(
        Parameters(raw["operationId"], operation.parameters, components, form.describe),
        _build_allowance(body) if body else None,
        # A form is validated as the equivalent JSON.
        compile_body_schema(_get_json_schema(body), components, form.describe) if body else None,
    )


class _Operation:
    """One operation of a contract, compiled."""

    def __init__(
        self,
        next_app: ASGIApp,
        raw: dict[str, Any],
        compiled: _CompiledOperation,
        services: Any,
        contract: Contract,
        start_limiter: StartLimiter,
        body_budget: BodyBudget,
    ) -> None:
        self._form = contract.form
        self.next_app = next_app
        self._start_limiter = start_limiter
        self._body_budget = body_budget
        self._services = services
        self._operation_id: str = raw["operationId"]
        self._scope: str | None = raw.get("x-scope")
        self._parameters = compiled.parameters
        self._allowance = compiled.allowance
        self._schema = compiled.schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get(CALLER, ANONYMOUS)
        request = Decoded(
            self._operation_id,
            scope["budkavle.request_id"],
            scope.get(TRACE_PARENT),
            scope.get(SERVICES, self._services),
            log=scope["budkavle.log"],
            caller=caller,
            call=scope.get(CALL) or AuditedCall(),
        )
        if caller is not ANONYMOUS:
            await self._start_limiter.wait_for_start()
        with Reservation(self._body_budget) as reservation:
            if self._allowance is not None:
                await self._receive_body(request, scope, receive, reservation)
            if self._scope is not None and not caller.may(self._scope):
                text = f"The {caller.kind} lacks the scope {self._scope}"
                is_token = caller.kind is CallerKind.TOKEN
                reason = RefusalReason.TOKEN_LACKS_SCOPE if is_token else RefusalReason.KEY_LACKS_SCOPE
                raise LacksScope(reason, text, self._scope)
            request.parameters, faults = self._parameters.read(
                scope.get("path_params", {}), scope["query_string"], scope["headers"]
            )
            request.violations += faults
            scope[REQUEST] = request
            await self.next_app(scope, receive, send)

    async def _receive_body(
        self, request: Decoded[Any], scope: Scope, receive: Receive, reservation: Reservation
    ) -> None:
        """Receive the body, and add its faults to the violations of the request."""
        if self._schema is None or self._allowance is None:
            return
        media_types = self._allowance.media_types
        content_type, encoding, length = _describe_body(scope["headers"])
        media_type = content_type.split(";", 1)[0].strip().lower() or JSON
        if media_type not in media_types:
            raise UnsupportedMediaType(f"The body must be {' or '.join(media_types)}")
        if encoding not in {"", "identity"}:
            raise UnsupportedMediaType("The body must not be compressed")
        try:
            body = await receive_body(receive, media_type, content_type, length, self._allowance, reservation)
        except Unreadable as fault:
            request.violations += self._form.unreadable(fault)
            return
        request.body, request.contents, request.is_form = body.value, body.contents, media_type == MULTIPART
        if body.is_large or self._schema.is_long(body.value):
            faults = await asyncio.to_thread(self._schema.find_violations, body.value)
        else:
            faults = self._schema.find_violations(body.value)
        if body.is_files_only:
            faults = [fault for fault in faults if fault.field.startswith("attachments")]
        request.violations += body.violations + faults


def _build_allowance(body: dict[str, Any]) -> Allowance:
    media_types = tuple(body["content"])
    has_files = body.get("x-has-files", MULTIPART in media_types)
    return Allowance(media_types, body["x-max-bytes"], has_files, _read_layout(body["content"].get(MULTIPART, {})))


def _read_layout(form: dict[str, Any]) -> FormLayout:
    """Return the layout of a form: its part with JSON is the one whose content type is that of JSON.

    With `x-other-parts` it comes anywhere, and other parts are ignored.
    """
    parts = [name for name, part in form.get("encoding", {}).items() if part["contentType"] == JSON]
    return FormLayout(parts[0], is_strict=not form.get("x-other-parts", False)) if parts else MESSAGE_FORM


def _get_json_schema(body: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the JSON body, or of the JSON that is equivalent to a form."""
    schema: dict[str, Any] = body["x-json-schema"] if "x-json-schema" in body else body["content"][JSON]["schema"]
    return schema


def _describe_body(headers: list[tuple[bytes, bytes]]) -> tuple[str, str, int | None]:
    """Return the Content-Type, Content-Encoding and Content-Length of a request."""
    content_type, encoding, length = "", "", None
    for name, value in headers:
        if name == b"content-type" and not content_type:
            content_type = value.decode("latin-1")
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").lower()
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return content_type, encoding, length


class _Api(RoutedAPI):  # type: ignore[misc]  # Connexion has no types.
    """The operations of one contract."""

    def __init__(
        self,
        *args: Any,
        services: Any,
        contract: Contract,
        start_limiter: StartLimiter,
        body_budget: BodyBudget,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._services = services
        self._contract = contract
        self._start_limiter = start_limiter
        self._body_budget = body_budget
        self.add_paths()

    def make_operation(self, operation: Any) -> _Operation:
        # Use the operation as published: Connexion has resolved all references in its own.
        raw = self.specification.raw["paths"][operation.path][operation.method]
        return _Operation(
            self.next_app,
            raw,
            self._compile(operation, raw),
            self._services,
            self._contract,
            self._start_limiter,
            self._body_budget,
        )

    def _compile(self, operation: Any, raw: dict[str, Any]) -> _CompiledOperation:
        """Return the compiled operation, which an earlier service of this process may have compiled."""
        form, known = self._contract.form, self.specification.compiled
        key = (operation.path, operation.method, form)
        if key not in known:
            components = {"schemas": self.specification.raw["components"].get("schemas", {})}
            known[key] = _compile_operation(operation, raw, components, form)
        compiled: _CompiledOperation = known[key]
        return compiled


class ValidationMiddleware(RoutedMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Replaces Connexion's own validation."""

    api_cls = _Api
