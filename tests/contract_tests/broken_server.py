"""Run our own service with one breakage between it and its callers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    """A request as the caller sent it."""

    method: str
    path: str
    """The decoded path."""
    raw_path: bytes
    """The path as it was sent."""
    query: bytes
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value.decode("latin-1") for key, value in self.headers if key.decode().lower() == name), None)

    def without(self, name: str) -> "Request":
        return replace(self, headers=[pair for pair in self.headers if pair[0].decode().lower() != name])

    def with_header(self, name: str, value: str) -> "Request":
        return replace(self, headers=[*self.without(name).headers, (name.encode(), value.encode("latin-1"))])

    def with_path(self, raw_path: bytes) -> "Request":
        return replace(self, path=unquote(raw_path.decode("latin-1")), raw_path=raw_path)

    def json(self) -> Any:
        """Return the parsed body, None if it is not JSON."""
        return _parse_json(self.body)

    def with_json(self, value: Any) -> "Request":
        body = json.dumps(value).encode()
        return replace(self, body=body, headers=_set_length(self.headers, body))


@dataclass(frozen=True)
class ServerResponse:
    """The response of the service."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return _parse_json(self.body)

    def header(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.headers if key.decode().lower() == name), None)

    def without(self, name: str) -> "ServerResponse":
        return replace(self, headers=[pair for pair in self.headers if pair[0].decode().lower() != name])

    def with_header(self, name: str, value: str) -> "ServerResponse":
        return replace(self.without(name), headers=[*self.without(name).headers, (name.encode(), value.encode())])

    def with_body(self, body: bytes) -> "ServerResponse":
        return replace(self, body=body, headers=_set_length(self.headers, body))

    def with_json(self, value: Any) -> "ServerResponse":
        return self.with_body(json.dumps(value).encode())


Forward = Callable[[Request], Awaitable[ServerResponse]]
Breakage = Callable[[Request, Forward], Awaitable[ServerResponse]]
"""A function that responds to a request instead of the service, to which it may forward any number of requests."""


def add_breakage(application: Any, breakage: Breakage) -> Any:
    """Return the application with the breakage in front of it."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return

        async def forward(request: Request) -> ServerResponse:
            return await _call(application, scope, request)

        body = await _read_body(receive)
        request = Request(
            scope["method"], scope["path"], scope["raw_path"], scope["query_string"], list(scope["headers"]), body
        )
        response = await breakage(request, forward)
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    return serve


async def _read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _call(application: Any, scope: Any, request: Request) -> ServerResponse:
    pieces = [{"type": "http.request", "body": request.body, "more_body": False}]
    status, headers, body = 0, [], b""

    async def receive() -> Any:
        if not pieces:
            # The caller is still connected: a disconnect message would cancel a streamed response.
            await asyncio.Event().wait()
        return pieces.pop()

    async def send(message: Any) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            body += message.get("body", b"")

    changed = {
        "method": request.method,
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query,
        "headers": request.headers,
    }
    await application({**scope, **changed}, receive, send)
    return ServerResponse(status, headers, body)


def _set_length(headers: Headers, body: bytes) -> Headers:
    rest = [pair for pair in headers if pair[0].lower() not in {b"content-length", b"transfer-encoding"}]
    return [*rest, (b"content-length", str(len(body)).encode())]


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_reject_repeated_names)
    except (ValueError, RecursionError):
        return None


def _reject_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values by name, or None if a name is repeated, because the request could not be rebuilt."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name comes twice")
    return value
