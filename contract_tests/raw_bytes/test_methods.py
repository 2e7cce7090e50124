"""Methods that a path does not support, and words that are no methods."""

from typing import Any

import pytest

from contract_tests.attacks import assert_in_order, assert_no_http, assert_not_allowed, assert_problem, request
from contract_tests.target import CheckTarget

pytestmark = pytest.mark.needs("sender")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
MESSAGE = f"/webmessages/{ID}"

ALLOWED = {
    "/webmessages": {"POST"},
    MESSAGE: {"DELETE", "GET"},
    f"/webmessages/recipients/{ID}": {"GET"},
    "/webmessages/external-references/abc/def": {"GET"},
    f"/webmessages/{ID}/attachments/{ID}": {"GET"},
    "/health/live": {"GET"},
    "/health/ready": {"GET"},
}
BY_GATEWAYS = {"HEAD", "OPTIONS"}
"""Methods that gateways and frameworks handle themselves for all paths."""


def own_param(path: str, method: str = "") -> Any:
    """Return parameters of a test, restricted to our own service where others may respond differently."""
    is_own = path.startswith("/health") or method in BY_GATEWAYS
    values = (path, method) if method else (path,)
    return pytest.param(*values, marks=[pytest.mark.own] if is_own else [])


METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "CONNECT", "PROPFIND", "M-SEARCH"}


@pytest.mark.parametrize(
    ("path", "method"),
    [own_param(path, method) for path, allowed in ALLOWED.items() for method in sorted(METHODS - allowed)],
)
def test_method_outside_the_contract_is_refused(path: str, method: str, target: CheckTarget) -> None:
    assert_not_allowed(target.send(request(method, path)), *ALLOWED[path])


@pytest.mark.own
@pytest.mark.parametrize("path", ALLOWED)
def test_head_is_refused_without_a_body(path: str, target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(request("HEAD", path, headers=["Connection: close"]))
        answer = connection.read_response(to_head=True)
        assert connection.read_response() is None
    assert answer is not None
    assert_not_allowed(answer, *ALLOWED[path])


def test_method_is_checked_before_the_key(target: CheckTarget) -> None:
    assert_problem(target.send(request("PUT", "/webmessages", key=None)), 405)


def test_wrong_method_with_a_body_leaves_the_connection_usable(target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(request("PUT", "/webmessages", body=b"x" * 100_000), request())
        assert_in_order([connection.read_response(), connection.read_response()], 405, 200)


@pytest.mark.parametrize(
    "method", ["", "get", "Get", "post", "FOO", "GET\x00", "GET,POST", "G" * 1000, "\u00e5", "PRI"]
)
@pytest.mark.parametrize("path", ["/webmessages", MESSAGE, own_param("/health/live")])
def test_invalid_method_closes_the_connection(method: str, path: str, target: CheckTarget) -> None:
    assert_no_http(target.send(request(method, path)))


@pytest.mark.parametrize(
    "start",
    [
        b"CONNECT budkavle.test:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health/live HTTPS/1.1\r\nHost: x\r\n\r\n",
        # HTTP allows other servers to accept these two.
        pytest.param(b"GET /health/live HTTP/1.9\r\nHost: x\r\n\r\n", marks=pytest.mark.own),
        pytest.param(b"GET /health/live HTTP/1.1\nHost: x\n\n", marks=pytest.mark.own),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
        bytes(range(256)),
        b"\0" * 1000,
        b"[" * 100_000,
    ],
    ids=["CONNECT", "HTTP/2", "no HTTP", "HTTP/1.9", "bare LF", "TLS", "all bytes", "NUL", "brackets"],
)
def test_data_that_is_not_http_closes_the_connection(start: bytes, target: CheckTarget) -> None:
    assert_no_http(target.send(start, is_unfinished=True))


@pytest.mark.own
def test_options_of_the_whole_server_are_not_found(target: CheckTarget) -> None:
    assert_problem(target.send(request("OPTIONS", "*")), 404)


@pytest.mark.own
@pytest.mark.parametrize("path", ["/docs", "/docs/web-messages", "/docs/web-messages/openapi.json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_documentation_pages_refuse_other_methods(method: str, path: str, target: CheckTarget) -> None:
    assert_not_allowed(target.send(request(method, path, key=None)), "GET", "HEAD")
