"""The interface for Python tests: both instances, for all calls of the process through `requests`."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import responses

from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.journal import MockResponse
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
    conditions: Conditions | None = None,
) -> Iterator[MockOpenE]:
    """Yield a mock Open-E that responds to `requests` from anywhere in this process, at the two addresses.

    The messageapi is next to each callback: the same address with `messageapi/…` as its last segment. Options given in
    addition to a `scenario` take precedence. `conditions` are those of both instances.

    Calls of other addresses fail, except those that begin with one of `passthrough`, which use the network. No call
    waits: `Slow` raises requests.ReadTimeout if the caller's read timeout is shorter than its seconds, and responds at
    once otherwise. `SlowBytes` responds at once, because bytes that keep arriving trigger no timeout of requests.
    `Reset` and `AcceptedAnswerLost` raise requests.ConnectionError.

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
        conditions=conditions,
    )
    mock = MockOpenE(
        cases=cases, username=username, password=password, scenario=scenario, strict=strict, conditions=conditions
    )
    doors: dict[Instance, str] = {"external": url_external, "internal": url_internal}
    with responses.RequestsMock(assert_all_requests_are_fired=False, passthru_prefixes=tuple(passthrough)) as patched:
        for instance, url in doors.items():
            callback = _Callback(mock, instance, url)
            readings = re.compile(re.escape(callback.messageapi) + "[^?#]+")
            for method in _METHODS:
                patched.add_callback(method, url, callback.respond, content_type=None)
                patched.add_callback(method, readings, callback.read_back, content_type=None)
        yield mock


class _Callback:
    """The callback and the messageapi of one instance, at its addresses."""

    def __init__(self, mock: MockOpenE, instance: Instance, url: str) -> None:
        self._mock = mock
        self._instance = instance
        self._url = url
        self.messageapi = f"{url.rsplit('/', 1)[0]}/messageapi/"

    def respond(self, request: Any) -> _Result:
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes | bytearray):
            body = b"".join(body)
        query = urlsplit(request.url).query
        response = self._mock.respond(
            self._instance, _decode_headers(request), body, method=request.method, query=query, url=self._url
        )
        return _build_result(response, request)

    def read_back(self, request: Any) -> _Result:
        parts = urlsplit(request.url)
        path = unquote(parts.path.rpartition("/messageapi/")[2])
        response = self._mock.read_back(
            self._instance, _decode_headers(request), path, method=request.method, query=parts.query
        )
        return _build_result(response, request)


def _decode_headers(request: Any) -> dict[str, str]:
    return {name.lower(): _decode_header(value) for name, value in request.headers.items()}


def _decode_header(value: str | bytes) -> str:
    """Return a header as text: some callers pass bytes to requests."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _build_result(response: MockResponse, request: Any) -> _Result:
    if response.ending != "response":
        return requests.ConnectionError("The mock Open-E closed the connection because a fault was ordered")
    if response.delay > _read_timeout(request.req_kwargs.get("timeout")):
        return requests.ReadTimeout("The mock Open-E delays the response because a fault was ordered")
    return response.status, response.headers, response.body


def _read_timeout(timeout: Any) -> float:
    """Return the read timeout in seconds from any form that requests accepts, infinite without a timeout."""
    if isinstance(timeout, tuple):
        timeout = timeout[1]
    timeout = getattr(timeout, "read_timeout", timeout)
    return float("inf") if timeout is None else float(timeout)
