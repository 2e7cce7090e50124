"""The headers against caches that the replaced services send with each response."""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.requests import Services

HEADERS = ((b"expires", b"0"), (b"pragma", b"no-cache"))


def forbid_caching(app: ASGIApp, _operation: Mapping[str, Any], _services: Services) -> ASGIApp:
    """Return an operation whose responses have `HEADERS`. Every response of the service has `Cache-Control`."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await app(scope, receive, send_with_headers)

    return respond
