"""An HTTPS server on loopback that answers requests for a JWK Set well or badly."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from anyio.from_thread import start_blocking_portal

from tests.certificates import Authority, Issued
from tests.tokens import create_key_set

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


class KeySetServer:
    """The running server. `respond` answers each request; the connection is closed after it."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []
        """The head of each request."""
        self.ended = 0
        """Requests whose connection has ended."""
        self.respond: Respond = send_keys(create_key_set())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            # A client that goes away ends the response, however long that would take.
            gone = asyncio.create_task(reader.read())
            response = asyncio.ensure_future(self.respond(writer))
            await asyncio.wait([gone, response], return_when=asyncio.FIRST_COMPLETED)
            for task in (gone, response):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await task
        writer.close()
        self.ended += 1


@asynccontextmanager
async def running_key_set_server(certificate: Issued, port: int = 0) -> AsyncIterator[KeySetServer]:
    """Run the server with a certificate for `localhost` until the context ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(certificate.file))
    server = KeySetServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", port, ssl=context)
    server.url = f"https://localhost:{listener.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield server
    finally:
        listener.close()


def send(body: bytes | str, *headers: str, status: str = "200 OK") -> Respond:
    """Return a function that sends this response."""
    data = body.encode() if isinstance(body, str) else body

    async def respond(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await writer.drain()

    return respond


def send_keys(key_set: dict[str, Any], *headers: str) -> Respond:
    return send(json.dumps(key_set), "Content-Type: application/jwk-set+json", *headers)


def send_raw(*pieces: bytes, forever: bool = False) -> Respond:
    """Return a function that sends these bytes, or repeats the last piece until the client goes away."""

    async def respond(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while forever:
            writer.write(pieces[-1])
            await writer.drain()
            await asyncio.sleep(0)

    return respond


async def stay_silent(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def create_certificate(authority: Authority) -> Issued:
    return authority.issue("localhost")


@contextmanager
def key_set_server_in_thread(certificate: Issued, port: int = 0) -> Iterator[KeySetServer]:
    """Run the server in a thread, for tests that wait for processes. Assigning `respond` changes the next response."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_key_set_server(certificate, port)) as server,
    ):
        yield server
