"""The door for Python tests: both instances, for everything in the process that uses `requests`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import responses

from open_e.mock.behaviour import MockOpenE
from open_e.mock.orders import Instance


@contextmanager
def mock_open_e(
    *,
    url_external: str = "http://open-e.test/external/api/callback",
    url_internal: str = "http://open-e.test/internal/api/callback",
    cases: Collection[int] | None = None,
    username: str | None = None,
    password: str | None = None,
    passthrough: Collection[str] = (),
) -> Iterator[MockOpenE]:
    """A mock Open-E that answers `requests` made anywhere in this process, at the two addresses.

    Any other address fails, but for those that begin with one of `passthrough`, which really are called. Nothing
    waits here: `Slow` is a requests.ReadTimeout when the caller's read timeout is shorter than its seconds, and an
    answer at once when it is not. `Reset` and `AcceptedAnswerLost` are a requests.ConnectionError.
    """
    mock = MockOpenE(cases=cases, username=username, password=password)
    doors: dict[Instance, str] = {"external": url_external, "internal": url_internal}
    with responses.RequestsMock(assert_all_requests_are_fired=False, passthru_prefixes=tuple(passthrough)) as patched:
        for instance, url in doors.items():

            def answer(request: Any, instance: Instance = instance) -> Exception | tuple[int, Mapping[str, str], bytes]:
                return _answer_in_process(mock, instance, request)

            patched.add_callback(responses.POST, url, answer, content_type=None)
        yield mock


def _answer_in_process(
    mock: MockOpenE, instance: Instance, request: Any
) -> Exception | tuple[int, Mapping[str, str], bytes]:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes | bytearray):
        body = b"".join(body)
    answer = mock.answer(instance, {name.lower(): value for name, value in request.headers.items()}, body)
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
