"""The server interface of the mock Open-E: callbacks and messageapi of one mock, as an ASGI application.

- `/external/api/callback`, `/internal/api/callback`, `/api/callback` (the external one): SOAP, WSDL and schema.
- `/external/api/messageapi/…`, `/internal/api/messageapi/…`, `/api/messageapi/…`: reading back.

Credentials protect these paths if they are configured. The control API and the inbox page
(`mock_open_e.server.application`) are open.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mock_open_e import Instance, MockOpenE, MockResponse

LARGEST_BODY = 200 * 2**20
"""Maximum bytes of a SOAP request: ten files of 10 MiB are 140 MB as base64."""

_LARGEST_INLINE = 65_536
_MESSAGEAPI = "messageapi/"
_TRANSPORT = "open_e.transport"


def create_app(mock: MockOpenE) -> ASGIApp:
    """Return the callbacks of a mock as an ASGI application. `Reset` and `AcceptedAnswerLost` require MockProtocol."""
    return Router(
        [
            Route("/external/api/{path:path}", _SoapEndpoint(mock, "external")),
            Route("/internal/api/{path:path}", _SoapEndpoint(mock, "internal")),
            Route("/api/{path:path}", _SoapEndpoint(mock, "external")),
        ],
        redirect_slashes=False,
    )


class _SoapEndpoint:
    """The callback of one instance."""

    def __init__(self, mock: MockOpenE, instance: Instance) -> None:
        self._mock = mock
        self._instance = instance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive, LARGEST_BODY)
        if body is None:
            await Response(status_code=413, headers={"Connection": "close"})(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope)
        path, method, query = request.path_params["path"], request.method, request.url.query
        if path.startswith(_MESSAGEAPI):
            path = path.removeprefix(_MESSAGEAPI)
            response = self._mock.read_back(self._instance, headers, path, method=method, query=query)
        elif path != "callback":
            await Response(status_code=404)(scope, receive, send)
            return
        else:
            url = str(request.url.replace(query=""))
            options = {"method": method, "query": query, "url": url}
            if len(body) <= _LARGEST_INLINE:
                response = self._mock.respond(self._instance, headers, body, **options)
            else:
                response = await asyncio.to_thread(self._mock.respond, self._instance, headers, body, **options)
        del body
        if response.ending != "response":
            await _end_connection(scope, receive, reset=response.ending == "reset")
            return
        if response.delay:
            await _wait(response.delay, receive)
        if response.trickle:
            length = {"Content-Length": str(len(response.body)), **response.headers}
            slow = StreamingResponse(_stream_slowly(response), response.status, length)
            await slow(scope, receive, send)
            return
        await Response(response.body, response.status, response.headers)(scope, receive, send)


async def _stream_slowly(response: MockResponse) -> AsyncIterator[bytes]:
    """Yield the body byte by byte, over the configured number of seconds."""
    for byte in response.body:
        await asyncio.sleep(response.trickle / len(response.body))
        yield bytes([byte])


async def _read_body(receive: Receive, limit: int) -> bytearray | None:
    """Return the whole body, or None once it exceeds the limit or the caller has disconnected."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


async def _wait(seconds: float, receive: Receive) -> None:
    """Wait for this time, or until the caller disconnects or the server stops."""
    # A stopping server cancels running calls. Suppress this error, so that the response is sent and no trace is logged.
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(seconds):
            await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end_connection(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """End the connection without a response, with RST or gracefully, and wait until it has ended."""
    transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    if reset:
        # The kernel sends RST if a socket is closed with unsent data discarded and no linger time.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    await _wait_for_disconnect(receive)


class MockProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the transport accessible to the application and without access log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # uvicorn's own setting would also disable the access log of other servers in the process.
        self.access_log = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}
