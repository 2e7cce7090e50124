"""Build the responses of handlers. Each sets its Content-Type."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from openapi.bodies.budget import BodyBudget, Reservation

JSON = "application/json"

SMALL_BYTES = 1024 * 1024
"""Responses of at most this size reserve no memory, and larger ones are sent in pieces of this size."""


class _EncodedResponse(Response):
    """A response whose body and headers need no conversion."""

    def __init__(self, status: HTTPStatus, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]


class _JsonResponse(_EncodedResponse):
    """A response with encoded JSON."""

    def __init__(self, text: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        super().__init__(status, text, _JSON_HEADER)


_JSON_HEADER = (b"content-type", JSON.encode())


def ok(value: Any) -> Response:
    """Return 200 with a JSON value."""
    return ok_json(to_json(value))


def ok_json(text: bytes) -> Response:
    """Return 200 with encoded JSON."""
    return _JsonResponse(text)


def accepted(value: Any) -> Response:
    """Return 202 with a JSON value."""
    return _JsonResponse(to_json(value), HTTPStatus.ACCEPTED)


def unavailable(value: Any) -> Response:
    """Return 503 with a JSON value."""
    return _JsonResponse(to_json(value), HTTPStatus.SERVICE_UNAVAILABLE)


def ok_stream(pieces: AsyncIterator[bytes], length: int | None, link: str | None = None) -> Response:
    """Return 200 with JSON in pieces. With a `length`, callers detect truncation."""
    response = StreamingResponse(pieces, media_type=JSON)
    if length is not None:
        response.headers["Content-Length"] = str(length)
    if link is not None:
        response.headers["Link"] = link
    return response


class _ReservedResponse(StreamingResponse):
    """A response whose memory is reserved until its last piece is sent."""

    def __init__(self, response: Response, reservation: Reservation) -> None:
        super().__init__(_split(response.body), response.status_code)
        self.raw_headers = response.raw_headers
        self._reservation = reservation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._reservation:
            await super().__call__(scope, receive, send)


async def _split(body: bytes | memoryview) -> AsyncIterator[memoryview]:
    whole = memoryview(body)
    for start in range(0, len(whole), SMALL_BYTES):
        yield whole[start : start + SMALL_BYTES]


async def reserve(response: Response, budget: BodyBudget) -> Response:
    """Return a response whose body, if it is large, is reserved in a budget until it is sent. Raises `Overloaded`."""
    if len(response.body) <= SMALL_BYTES:
        return response
    reservation = Reservation(budget)
    await reservation.cover(len(response.body))
    return _ReservedResponse(response, reservation)


def metrics(text: bytes) -> Response:
    """Return 200 with samples in the format of Prometheus."""
    return Response(text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def created(location: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return 201 without a body."""
    fields = {"location": location, **(headers or {})}
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
    return _EncodedResponse(HTTPStatus.CREATED, b"", *encoded)


def created_json(value: Any) -> Response:
    """Return 201 with a JSON value."""
    return _JsonResponse(to_json(value), HTTPStatus.CREATED)


def timed_out(value: Any) -> Response:
    """Return 408 with a JSON value: the awaited result did not arrive."""
    return _JsonResponse(to_json(value), HTTPStatus.REQUEST_TIMEOUT)


def no_content() -> Response:
    """Return 204."""
    return Response(status_code=HTTPStatus.NO_CONTENT)


def download(pieces: AsyncIterator[bytes], media_type: str, size: int, file_name: str) -> Response:
    """Return 200 with a file of `size` bytes, to be saved and not displayed."""
    return StreamingResponse(
        pieces,
        headers={
            "Content-Type": media_type,
            "Content-Length": str(size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
            "X-Content-Type-Options": "nosniff",
        },
    )


def to_json(value: Any) -> bytes:
    """Return a value as JSON for callers: compact, and without escapes for non-ASCII characters."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # orjson encodes no numbers above 64 bits.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
