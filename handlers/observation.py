"""Names every request and logs one line about it: ids, status, duration, never content."""

import re
import secrets
import time
from typing import Any

import structlog
from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("budkavle.requests")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,46}")
_HEADER = b"x-request-id"


class ObservationMiddleware:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = _request_id(scope["headers"])
        fields: dict[str, Any] = {}
        status = 0
        extensions = scope.setdefault("extensions", {})
        scope["budkavle.request_id"] = request_id
        scope["budkavle.log"] = fields

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                # An answer of a handler has it already.
                if not any(name == _HEADER for name, _ in message["headers"]):
                    message["headers"] = [*message["headers"], (_HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        finally:
            log.info(
                "request",
                operation=_operation(extensions),
                method=scope["method"][:16],
                status=status,
                milliseconds=round((time.perf_counter() - begun) * 1000, 1),
                request_id=request_id,
                **fields,
            )


def _operation(extensions: dict[str, Any]) -> str | None:
    operation_id: str | None = extensions.get(ROUTING_CONTEXT, {}).get("operation_id")
    return operation_id and operation_id.rpartition(".")[2]


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == _HEADER and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(16)
