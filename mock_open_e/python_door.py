"""The door for Python tests: both instances, for everything in the process that uses `requests`."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import responses

from mock_open_e.behaviour.journal import Answer
from mock_open_e.behaviour.mock import MockOpenE
from mock_open_e.behaviour.options import check_options
from mock_open_e.behaviour.orders import Instance
from mock_open_e.behaviour.scenario import Scenario

_METHODS = ("GET", "HEAD", "POST", "PUT")

_Result = Exception | tuple[int, Mapping[str, str], bytes]


@contextmanager
def mock_open_e(
    *,
    url_external: str = "http://open-e.test/external/api/callback",
    url_internal: str = "http://open-e.test/internal/api/callback",
    cases: Collection[int] | int | None = None,
    username: str | None = None,
    password: str | None = None,
    passthrough: Collection[str] = (),
    scenario: Scenario | None = None,
    strict: bool | None = None,
) -> Iterator[MockOpenE]:
    """A mock Open-E that answers `requests` made anywhere in this process, at the two addresses.

    The messageapi is beside each callback: the same address, with `messageapi/…` for its last segment. What is given
    beside a `scenario` counts.

    Any other address fails, but for those that begin with one of `passthrough`, which really are called. Nothing
    waits here: `Slow` is a requests.ReadTimeout when the caller's read timeout is shorter than its seconds, and an
    answer at once when it is not; `SlowBytes` is an answer at once, as bytes that keep coming break no timeout of
    requests. `Reset` and `AcceptedAnswerLost` are a requests.ConnectionError.

    Raises TypeError with a line for each option of the wrong type or value.
    """
    check_options(
        url_external=url_external,
        url_internal=url_internal,
        cases=cases,
        username=username,
        password=password,
        passthrough=passthrough,
        scenario=scenario,
        strict=strict,
    )
    mock = MockOpenE(cases=cases, username=username, password=password, scenario=scenario, strict=strict)
    doors: dict[Instance, str] = {"external": url_external, "internal": url_internal}
    with responses.RequestsMock(assert_all_requests_are_fired=False, passthru_prefixes=tuple(passthrough)) as patched:
        for instance, url in doors.items():
            callback = _Callback(mock, instance, url)
            readings = re.compile(re.escape(callback.messageapi) + "[^?#]+")
            for method in _METHODS:
                patched.add_callback(method, url, callback.answer, content_type=None)
                patched.add_callback(method, readings, callback.read_back, content_type=None)
        yield mock


class _Callback:
    """One instance at its address."""

    def __init__(self, mock: MockOpenE, instance: Instance, url: str) -> None:
        self._mock = mock
        self._instance = instance
        self._url = url
        self.messageapi = f"{url.rsplit('/', 1)[0]}/messageapi/"

    def answer(self, request: Any) -> _Result:
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes | bytearray):
            body = b"".join(body)
        query = urlsplit(request.url).query
        answer = self._mock.answer(
            self._instance, _headers(request), body, method=request.method, query=query, url=self._url
        )
        return _result(answer, request)

    def read_back(self, request: Any) -> _Result:
        parts = urlsplit(request.url)
        path = unquote(parts.path.rpartition("/messageapi/")[2])
        answer = self._mock.read_back(self._instance, _headers(request), path, method=request.method, query=parts.query)
        return _result(answer, request)


def _headers(request: Any) -> dict[str, str]:
    return {name.lower(): _text(value) for name, value in request.headers.items()}


def _text(value: str | bytes) -> str:
    """A header as text: some callers give requests bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _result(answer: Answer, request: Any) -> _Result:
    if answer.ending != "answer":
        return requests.ConnectionError("The mock Open-E ended the connection, as ordered")
    if answer.delay > _read_timeout(request.req_kwargs.get("timeout")):
        return requests.ReadTimeout("The mock Open-E is slow, as ordered")
    return answer.status, answer.headers, answer.body


def _read_timeout(timeout: Any) -> float:
    """The read timeout in seconds, from any form that requests takes it in; no timeout is for ever."""
    if isinstance(timeout, tuple):
        timeout = timeout[1]
    timeout = getattr(timeout, "read_timeout", timeout)
    return float("inf") if timeout is None else float(timeout)
