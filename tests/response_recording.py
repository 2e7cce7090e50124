"""A pytest plugin that checks each response and each delivery of our programs in a test against the contracts.

Tests need not do anything for it. In this process the outermost layer of each server records its responses; for
programs that tests start, the HTTP clients do. The responses are checked when the test has ended, and are not changed
on the way: responses stream as they do outside of tests, and a wrong one fails the test that caused it.

Deliveries are recorded by the receivers of the tests, as they came over the connection.

Every test imports this module, so it imports HTTP clients and validators only when a test needs them.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.programs import get_program

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import httpx
    import requests
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.response_validation import RecordedResponse

_responses: deque[tuple[str, RecordedResponse]] = deque()
"""Responses that are not checked yet, each with its contracts. Servers are in threads of their own."""

_deliveries: deque[tuple[str, list[tuple[str, str]], bytes]] = deque()
"""Deliveries that are not checked yet: the first line, the headers and the body."""


def take_faults() -> list[str]:
    """Return the faults of the responses and deliveries since the last call."""
    found = []
    while _responses:
        from tests.response_validation import compatibility, mock, service, worker

        published = {"service": service, "compatibility": compatibility, "worker": worker, "mock": mock}
        kind, response = _responses.popleft()
        faults = published[kind]().find_faults(response)
        found += [f"{response}: {fault}" for fault in faults]
    while _deliveries:
        from tests.delivery_validation import RecordedDelivery, find_delivery_faults

        delivery = RecordedDelivery(*_deliveries.popleft())
        found += [f"{delivery}: {fault}" for fault in find_delivery_faults(delivery)]
    return list(dict.fromkeys(found))


def record_delivery(start: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    """Record a request to a receiver if it is a delivery. `start` is its first line."""
    lower = [(name.lower(), value) for name, value in headers]
    if any(name.startswith("webhook-") for name, _ in lower):
        _deliveries.append((start, lower, body))


class RecordingApp:
    """An application that records its responses for any client."""

    def __init__(self, app: ASGIApp, kind: str) -> None:
        self._app = app
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from tests.response_validation import RecordedResponse

        start: Message | None = None
        pieces: list[bytes] = []
        is_whole = False

        def record(body: bytes | None) -> None:
            assert start is not None
            headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
            path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
            _responses.append((self._kind, RecordedResponse(scope["method"], path, start["status"], headers, body)))

        async def send_recorded(message: Message) -> None:
            nonlocal start, is_whole
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))
                if not message.get("more_body", False):
                    is_whole = True
                    # Record it before it is sent, so that it is recorded when the test receives it.
                    record(b"".join(pieces))
            await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        finally:
            if start is not None and not is_whole:
                record(None)


def _record_program_response(
    method: str | None, url: str, status: int, headers: Any, body: Callable[[], bytes]
) -> None:
    parts = urlsplit(url)
    kind = get_program(parts.port or 0)
    if kind is not None:
        from tests.response_validation import RecordedResponse

        _responses.append((kind, RecordedResponse(method or "", parts.path, status, headers, body())))


@cache
def record_clients() -> None:
    """Let the HTTP clients of this process record the responses of programs that tests started."""
    import httpx
    import requests

    send_httpx, send_requests = httpx.Client.send, requests.Session.send

    def send_httpx_recorded(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send_httpx(client, request, **options)
        if not response.is_stream_consumed:
            return response
        headers = response.headers.multi_items()
        path = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.raw_path.decode()}"
        _record_program_response(request.method, path, response.status_code, headers, lambda: response.content)
        return response

    def send_requests_recorded(
        session: requests.Session, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        response = send_requests(session, request, **options)
        headers = [(name.lower(), value) for name, value in response.headers.items()]
        if not options.get("stream"):
            _record_program_response(
                request.method, request.url or "", response.status_code, headers, lambda: response.content
            )
        return response

    httpx.Client.send = send_httpx_recorded  # type: ignore[method-assign]
    requests.Session.send = send_requests_recorded  # type: ignore[method-assign]


def _check_responses() -> Generator[None, Any, Any]:
    try:
        result = yield
    except BaseException as exc:
        if faults := take_faults():
            exc.add_note(_describe(faults))
        raise
    if faults := take_faults():
        pytest.fail(_describe(faults), pytrace=False)
    return result


def _describe(faults: list[str]) -> str:
    return "\n".join(
        ["responses or deliveries that violate the published contracts:", *(f"- {fault}" for fault in faults)]
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _check_responses())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _check_responses())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _check_responses())
