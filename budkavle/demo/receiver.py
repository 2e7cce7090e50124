"""The receiver of `budkavle dev`: receives the events of the demo, verifies their signatures and displays them.

It demonstrates what a receiver must do: verify the signature over the raw bytes, then respond at once. It also displays
what it rejects. A button of its page makes it refuse events, to demonstrate retries.
"""

import base64
import binascii
import hmac
import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openapi.pages.errors import ErrorPages
from openapi.pages.rendering import Pages

SECRET = "whsec_QSBzZWNyZXQgdGhhdCBldmVyeWJvZHkga25vd3M="  # noqa: S105  # Everybody may know it: only the demo signs with it.
"""The secret that signs the demo's deliveries."""

SECRET_VARIABLE = "DEMO_WEBHOOK_SECRET"  # noqa: S105  # The name of a variable, as the catalogue refers to it.

LARGEST_BODY = 131_072
"""Maximum bytes. An event's body has at most 64 KiB."""

TOLERANCE_SECONDS = 300
"""Maximum age of a signature in seconds, to prevent replays of intercepted requests."""

_SHOWN = 100


@dataclass(frozen=True, slots=True)
class _Received:
    """A request. `number` counts all requests, from 1."""

    number: int
    time: datetime
    path: str
    id: str
    is_verified: bool
    is_repetition: bool
    is_refused: bool
    body: bytes


def create_receiver(now: Callable[[], datetime], secret: str = SECRET, *, service: str = "") -> ASGIApp:
    """Return the receiver as an ASGI application: POST to any path, the page at `/`, and its events at `/events`.

    The button of the page sends a POST to `/page/refuse` or `/page/accept`: from then on, verified requests get 503, or
    204 again. `service` is the address of the service, to which the page links.
    """
    received: deque[_Received] = deque(maxlen=_SHOWN)
    is_refusing = False
    numbers = itertools.count(1)
    links = [("Received events", "/"), ("API pages", f"{service}/docs")] if service else []
    pages = Pages(Path(__file__).parent / "receiver_page", name="Demo receiver", files="/files", links=links)

    async def show_page(_: Request) -> Response:
        values = {
            "events": [_describe(item) for item in received],
            "blank": dict.fromkeys(_FIELDS, ""),
            "total": received[0].number if received else 0,
            "shown": _SHOWN,
            "is_refusing": is_refusing,
            "service": service,
            "current": "/",
        }
        return pages.render("receiver.html", values)

    async def list_events(request: Request) -> Response:
        after = request.query_params.get("after", "")
        latest = int(after) if after.isdecimal() and len(after) < len("1000000000") else 0
        events = [_describe(item) for item in received if item.number > latest]
        total = received[0].number if received else 0
        return JSONResponse({"total": total, "events": events}, headers={"Cache-Control": "no-store"})

    async def set_answer(request: Request) -> Response:
        nonlocal is_refusing
        is_refusing = request.url.path == "/page/refuse"
        return RedirectResponse("/#answer", HTTPStatus.SEE_OTHER)

    async def take(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return Response(status_code=413, headers={"Connection": "close"})
        moment = now()
        is_verified = verify(secret, request.headers, bytes(body), moment)
        delivery_id = request.headers.get("webhook-id", "")
        is_repetition = any(item.is_verified and item.id == delivery_id for item in received)
        is_refused = is_verified and is_refusing
        path = request.url.path
        item = _Received(next(numbers), moment, path, delivery_id, is_verified, is_repetition, is_refused, bytes(body))
        received.appendleft(item)
        if is_refused:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(status_code=204 if is_verified else 401)

    router = Router(
        [
            Route("/", show_page, methods=["GET"]),
            Route("/events", list_events, methods=["GET"]),
            Route("/page/refuse", set_answer, methods=["POST"]),
            Route("/page/accept", set_answer, methods=["POST"]),
            *pages.create_file_routes(),
            Route("/{path:path}", take, methods=["POST"]),
        ],
        redirect_slashes=False,
    )
    errors = ErrorPages(pages, [("See the received events", "/")])

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await errors.respond(router, "There is no page here", scope, receive, send)

    return respond


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


_FIELDS = ("number", "name", "verdict", "tone", "time", "iso", "path", "id", "event", "text")


def _describe(item: _Received) -> dict[str, object]:
    """Return what the page shows of a request, by the names in `_FIELDS`."""
    name, event_id = "Request without a readable event", "unknown"
    try:
        event = json.loads(item.body)
        text = json.dumps(event, ensure_ascii=False, indent=2)
        if isinstance(event, dict) and "entitetId" in event:
            name = f"{event.get('entitetNavn')} (type {event['entitetId']})"
            event_id = str(event.get("beskedId", event_id))
    except (ValueError, RecursionError):
        text = item.body.decode(errors="replace")
    # JSON can contain unpaired surrogates, which a page cannot.
    name, event_id, text = (each.encode(errors="replace").decode() for each in (name, event_id, text))
    verdict, tone = ("Signature verified", "good") if item.is_verified else ("Rejected: no valid signature", "bad")
    if item.is_verified and item.is_repetition:
        verdict, tone = "Signature verified, received before", "warn"
    if item.is_refused:
        verdict, tone = f"{verdict}, refused", "bad"
    utc = item.time.astimezone(UTC)
    return {
        "number": item.number,
        "name": name,
        "verdict": verdict,
        "tone": tone,
        "time": f"{utc:%-d %b %Y, %H:%M:%S} UTC",
        "iso": utc.isoformat(timespec="milliseconds"),
        "path": item.path,
        "id": item.id,
        "event": event_id,
        "text": text,
    }
