"""A pytest plugin that checks each response of our programs in a test against the published contracts.

Tests need not do anything for it. In this process the outermost layer of each server records its responses; for
programs that tests start, the HTTP clients do. The responses are checked when the test has ended, and are not changed
on the way: responses stream as they do outside of tests, and a wrong one fails the test that caused it.

Every test imports this module, so it imports HTTP clients and validators only when a test needs them.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.programs import program_at

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import httpx
    import requests
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.answers_kept import Answer

_answers: deque[tuple[str, Answer]] = deque()
"""Responses that are not checked yet, each with its contracts. Servers are in threads of their own."""


def take_faults() -> list[str]:
    """Return the faults of the responses since the last call."""
    found = []
    while _answers:
        from tests.answers_kept import mock, service, worker

        published = {"service": service, "worker": worker, "mock": mock}
        whose, answer = _answers.popleft()
        faults = published[whose]().faults_of(answer)
        found += [f"{answer}: {fault}" for fault in faults]
    return list(dict.fromkeys(found))


class Watched:
    """An application that records its responses for any client."""

    def __init__(self, app: ASGIApp, whose: str) -> None:
        self._app = app
        self._whose = whose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from tests.answers_kept import Answer

        start: Message | None = None
        pieces: list[bytes] = []
        is_whole = False

        def keep(body: bytes | None) -> None:
            assert start is not None
            headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
            path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
            _answers.append((self._whose, Answer(scope["method"], path, start["status"], headers, body)))

        async def watched_send(message: Message) -> None:
            nonlocal start, is_whole
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))
                if not message.get("more_body", False):
                    is_whole = True
                    # Record it before it is sent, so that it is recorded when the test receives it.
                    keep(b"".join(pieces))
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        finally:
            if start is not None and not is_whole:
                keep(None)


def _keep_of_program(method: str | None, url: str, status: int, headers: Any, body: Callable[[], bytes]) -> None:
    parts = urlsplit(url)
    whose = program_at(parts.port or 0)
    if whose is not None:
        from tests.answers_kept import Answer

        _answers.append((whose, Answer(method or "", parts.path, status, headers, body())))


@cache
def watch_clients() -> None:
    """Let the HTTP clients of this process record the responses of programs that tests started."""
    import httpx
    import requests

    send_httpx, send_requests = httpx.Client.send, requests.Session.send

    def watched_httpx(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send_httpx(client, request, **options)
        if not response.is_stream_consumed:
            return response
        headers = response.headers.multi_items()
        path = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.raw_path.decode()}"
        _keep_of_program(request.method, path, response.status_code, headers, lambda: response.content)
        return response

    def watched_requests(
        session: requests.Session, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        response = send_requests(session, request, **options)
        headers = [(name.lower(), value) for name, value in response.headers.items()]
        if not options.get("stream"):
            _keep_of_program(request.method, request.url or "", response.status_code, headers, lambda: response.content)
        return response

    httpx.Client.send = watched_httpx  # type: ignore[method-assign]
    requests.Session.send = watched_requests  # type: ignore[method-assign]


def _judging() -> Generator[None, Any, Any]:
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
    return "\n".join(["answers break their published contracts:", *(f"- {fault}" for fault in faults)])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _judging())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _judging())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _judging())
