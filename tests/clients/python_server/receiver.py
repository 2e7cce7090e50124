"""A receiver whose API is generated from the contract of deliveries. This file is what its team writes."""

import base64
import binascii
import hmac
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from api import main

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
INBOX = Path("inbox")
MAX_BYTES = 128 * 1024

Message = MutableMapping[str, Any]


class SignatureVerification:
    """Verifies the signature over the received bytes, before the generated code parses them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= MAX_BYTES:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if len(body) > MAX_BYTES or not is_authentic(headers, body):
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        # The pattern in the contract is that of this version: the generated code would reject other signatures.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"webhook-signature"]
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_again() -> Message:
            return next(replayed, None) or await receive()

        await self._app(scope, receive_again, send)


def is_authentic(headers: dict[str, str], body: bytes) -> bool:
    """Return whether one of the signatures is valid and recent."""
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 13):
        return False
    if abs(time.time() - int(timestamp)) > 300:
        return False
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    expected = hmac.digest(KEY, signed, "sha256")
    return any(hmac.compare_digest(expected, given) for given in parse(headers.get("webhook-signature", "")))


def parse(signatures: str) -> list[bytes]:
    found = []
    for version, _, text in (signature.partition(",") for signature in signatures.split()):
        if version == "v1":
            try:
                found.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def store(delivery_id: str, event: Any) -> None:
    """Write an event as the generated model has it."""
    (INBOX / f"{delivery_id}.json").write_text(event.model_dump_json(exclude_unset=True))


if __name__ == "__main__":
    INBOX.mkdir()
    main.app.add_middleware(SignatureVerification)
    config = uvicorn.Config(main.app, host="127.0.0.1", port=0, log_level="warning")
    listener = config.bind_socket()
    listener.listen()
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201  # The test waits for this line.
    uvicorn.Server(config).run([listener])
