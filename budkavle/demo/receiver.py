"""The receiver of `budkavle dev`: receives the events of the demo, verifies their signatures and displays them.

It demonstrates what a receiver must do: verify the signature over the raw bytes, then respond at once. It also displays
what it rejects.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

SECRET = "whsec_QSBzZWNyZXQgdGhhdCBldmVyeWJvZHkga25vd3M="  # noqa: S105  # Everybody may know it: only the demo signs with it.
"""The secret that signs the demo's deliveries."""

SECRET_VARIABLE = "DEMO_WEBHOOK_SECRET"  # noqa: S105  # The name of a variable, as the catalogue refers to it.

LARGEST_BODY = 131_072
"""Maximum bytes. An event's body has at most 64 KiB."""

TOLERANCE_SECONDS = 300
"""Maximum age of a signature in seconds, to prevent replays of intercepted requests."""

_SHOWN = 100

_STYLE = (
    "body{font-family:sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "article{border-top:1px solid;padding:1rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class _Received:
    time: datetime
    path: str
    id: str
    is_verified: bool
    body: bytes


def create_receiver(now: Callable[[], datetime], secret: str = SECRET) -> ASGIApp:
    """Return the receiver as an ASGI application: POST to any path, and the page at `/`."""
    received: deque[_Received] = deque(maxlen=_SHOWN)

    async def show_page(_: Request) -> Response:
        return Response(_render_page(received), headers=_HEADERS)

    async def take(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return Response(status_code=413, headers={"Connection": "close"})
        moment = now()
        is_verified = verify(secret, request.headers, bytes(body), moment)
        delivery_id = request.headers.get("webhook-id", "")
        received.appendleft(_Received(moment, request.url.path, delivery_id, is_verified, bytes(body)))
        return Response(status_code=204 if is_verified else 401)

    return Router(
        [Route("/", show_page, methods=["GET"]), Route("/{path:path}", take, methods=["POST"])], redirect_slashes=False
    )


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Return whether one of the signatures is valid for this secret and body, and recent (Standard Webhooks 1.0)."""
    delivery_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < len("10000000000000")):
        return False
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.digest(key, f"{delivery_id}.{timestamp}.".encode() + body, "sha256")
    return any(
        hmac.compare_digest(expected, given) for given in _parse_signatures(headers.get("webhook-signature", ""))
    )


def _parse_signatures(header: str) -> list[bytes]:
    found = []
    for version, _, text in (part.partition(",") for part in header.split()):
        if version == "v1":
            try:
                found.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def _render_page(received: deque[_Received]) -> str:
    shown = "".join(_render_article(item) for item in received)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        f"<title>Receiver</title><style>{_STYLE}</style></head>"
        f"<body><h1>Receiver: {len(received)} events</h1>{shown or '<p>No event received yet.</p>'}</body></html>"
    )


def _render_article(item: _Received) -> str:
    try:
        text = json.dumps(json.loads(item.body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = item.body.decode(errors="replace")
    signature = "signature verified" if item.is_verified else "NOT verified"
    return (
        f"<article><h2>{escape(item.path)}: {signature}</h2>"
        f"<div>{item.time.isoformat(timespec='milliseconds')}, delivery {escape(item.id)}</div>"
        f"<pre>{escape(text)}</pre></article>"
    )
