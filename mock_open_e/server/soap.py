"""The server door of the mock Open-E: the callbacks and the messageapi of one mock, as an ASGI app under uvicorn.

- `/external/api/callback`, `/internal/api/callback`, `/api/callback` (the external one): SOAP, WSDL and schema.
- `/external/api/messageapi/…`, `/internal/api/messageapi/…`, `/api/messageapi/…`: reading back.

Credentials, when set, guard these; the control API and the inbox page (`mock_open_e.server.application`) are open.
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

from mock_open_e import Answer, Instance, MockOpenE

LARGEST_BODY = 200 * 2**20
"""Bytes of a SOAP request: ten files of 10 MiB are 140 MB as base64."""

_LARGEST_INLINE = 65_536
_MESSAGEAPI = "messageapi/"
_TRANSPORT = "open_e.transport"


def create_app(mock: MockOpenE) -> ASGIApp:
    """The callbacks of a mock as an ASGI app. `Reset` and `AcceptedAnswerLost` need it to run under MockProtocol."""
    return Router(
        [
            Route("/external/api/{path:path}", _SoapDoor(mock, "external")),
            Route("/internal/api/{path:path}", _SoapDoor(mock, "internal")),
            Route("/api/{path:path}", _SoapDoor(mock, "external")),
        ],
        redirect_slashes=False,
    )


class _SoapDoor:
    """One instance's callback."""

    def __init__(self, mock: MockOpenE, instance: Instance) -> None:
        self._mock = mock
        self._instance = instance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive, LARGEST_BODY)
        if body is None:
            await Response(status_code=413, headers={"Connection": "close"})(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope)
        path, method, query = request.path_params["path"], request.method, request.url.query
        if path.startswith(_MESSAGEAPI):
            path = path.removeprefix(_MESSAGEAPI)
            answer = self._mock.read_back(self._instance, headers, path, method=method, query=query)
        elif path != "callback":
            await Response(status_code=404)(scope, receive, send)
            return
        else:
            url = str(request.url.replace(query=""))
            options = {"method": method, "query": query, "url": url}
            if len(body) <= _LARGEST_INLINE:
                answer = self._mock.answer(self._instance, headers, body, **options)
            else:
                answer = await asyncio.to_thread(self._mock.answer, self._instance, headers, body, **options)
        del body
        if answer.ending != "answer":
            await _end_connection(scope, receive, reset=answer.ending == "reset")
            return
        if answer.delay:
            await _wait(answer.delay, receive)
        if answer.trickle:
            length = {"Content-Length": str(len(answer.body)), **answer.headers}
            slow = StreamingResponse(_trickling(answer), answer.status, length)
            await slow(scope, receive, send)
            return
        await Response(answer.body, answer.status, answer.headers)(scope, receive, send)


async def _trickling(answer: Answer) -> AsyncIterator[bytes]:
    """The body byte by byte, over as many seconds as it shall take."""
    for byte in answer.body:
        await asyncio.sleep(answer.trickle / len(answer.body))
        yield bytes([byte])


async def _body(receive: Receive, limit: int) -> bytearray | None:
    """The whole body, or None as soon as it is longer than the limit or the caller has gone."""
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
    """Waits that long, but no longer than the caller is there and the server runs."""
    # A stopping server cancels what still runs; the answer then goes out at once instead of a trace into the log.
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(seconds):
            await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end_connection(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """Ends the connection without a byte, with RST or in peace, and waits until it has ended."""
    transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    if reset:
        # Closing with unsent data thrown away and no time to linger is what makes the kernel send RST.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    await _disconnected(receive)


class MockProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the connection itself within reach of the app, and without a line per request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # uvicorn's own setting silences the access log of every other server in the process too.
        self.access_log = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}
