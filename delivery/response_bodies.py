"""Read the beginning of response bodies."""

import asyncio
import contextlib

from aiohttp import ClientResponse

UNFRAMED_SECONDS = 1.0
"""Maximum seconds to read a body that has neither length nor chunks.

Some receivers send such a body and keep the connection open; the status counts without the rest.
"""


async def read_beginning(response: ClientResponse, limit: int) -> bytes:
    """Return at most `limit` bytes of a body. The connection of a longer one is closed."""
    received = bytearray()
    try:
        if "Content-Length" in response.headers or "Transfer-Encoding" in response.headers:
            await _read_into(received, response, limit)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNFRAMED_SECONDS):
                    await _read_into(received, response, limit)
    finally:
        # aiohttp has already released a connection whose response was read completely.
        if response.connection is not None:
            response.close()
    return bytes(received)


async def _read_into(received: bytearray, response: ClientResponse, limit: int) -> None:
    content = response.content
    while len(received) < limit and not content.at_eof():
        received += await content.read(limit - len(received))
