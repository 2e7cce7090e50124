"""Paths and methods: data, separators, and unknown paths."""

import doctest
import json

import pytest

from conftest import MESSAGES_KEY, RunningService
from openapi import routing
from openapi.routing import canonicalise_path
from tests.handlers.messages import read_problem
from tests.raw_http import RawResponse, send_request

ALLOWED = {
    "/webmessages": "POST",
    "/webmessages/81471222-5798-11e9-ae24-57fa13b361e1": "DELETE, GET",
    "/webmessages/81471222-5798-11e9-ae24-57fa13b361e1/attachments/81471222-5798-11e9-ae24-57fa13b361e1": "GET",
    "/webmessages/recipients/81471222-5798-11e9-ae24-57fa13b361e1": "GET",
    "/webmessages/external-references/abc/def": "GET",
    "/health/live": "GET",
    "/health/ready": "GET",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


def send_raw(service: RunningService, target: str, method: str = "GET") -> RawResponse:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\napikey: {MESSAGES_KEY}\r\n\r\n"
    return send_request(service.port, head.encode("latin-1"), has_body=method != "HEAD")


def test_canonical_path_follows_its_docstring() -> None:
    assert doctest.testmod(routing).failed == 0


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        (b"/", "/"),
        (b"/a/b", "/a/b"),
        (b"/a%2Fb", "/a%2Fb"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/%61%2D%5F%2E%7E", "/a-_.~"),
        (b"/a?b=c", "/a"),
        (b"/%zz%", "/%25zz%25"),
        (b"/\xc3\xa5", "/%C3%A5"),
        (b"/%c3%a5", "/%C3%A5"),
        (b"/%ff", "/%FF"),
        (b"/%25", "/%25"),
        (b"/a%3Fb", "/a%3Fb"),
        (b"//a//", "//a//"),
        (b"/a;b=c,d@e:f!$&'()*+=", "/a;b=c,d@e:f!$&'()*+="),
    ],
)
def test_canonical_path_has_one_spelling(raw_path: bytes, expected: str) -> None:
    assert canonicalise_path(raw_path) == expected
    assert canonicalise_path(expected.encode()) == expected


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, allowed in ALLOWED.items() for method in METHODS if method not in allowed.split(", ")],
)
def test_other_methods_get_405_with_the_allowed_ones(contract: RunningService, path: str, method: str) -> None:
    response = send_raw(contract, path, method)
    assert response.status == 405
    assert response.headers["allow"] == ALLOWED[path]
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    if method != "HEAD":
        assert json.loads(response.body)["title"] == "Method Not Allowed"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webmessages/",
        "//webmessages",
        "/Webmessages",
        "/webmessages/x/",
        "/webmessages//",
        "/webmessages/x/attachments",
        "/webmessages/x/attachments/",
        "/webmessages/recipients/x/",
        "/webmessages/external-references/abc",
        "/webmessages/external-references//abc",
        "/webmessages/external-references/abc/def/ghi",
        "/webmessages%2Frecipients%2Fx",
        "/health",
        "/health/live/",
        "/openapi.json",
        "/ui",
        "/docs/",
        "/docs/nothing",
        "/%00",
        "/%ff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_paths_get_404(contract: RunningService, path: str, method: str) -> None:
    response = send_raw(contract, path, method)
    assert response.status == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.body)["title"] == "Not Found"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/docs", "/docs/web-messages/openapi.json", "/docs/static/swagger-ui.css"])
def test_documentation_pages_allow_only_get(contract: RunningService, path: str) -> None:
    response = send_raw(contract, path, "POST")
    assert response.status == 405
    assert response.headers["content-type"] == "application/problem+json"
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize("path", ["nothing.js", "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "", "%00"])
def test_unknown_documentation_files_get_404(contract: RunningService, path: str) -> None:
    response = send_raw(contract, f"/docs/static/{path}")
    assert response.status == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_percent_encoded_path_is_equivalent(contract: RunningService) -> None:
    response = send_raw(contract, "/%77ebmessages/recipients/81471222%2D5798-11e9-ae24-57fa13b361e1")
    assert (response.status, response.body) == (200, b"[]")


def test_absolute_target_is_accepted(contract: RunningService) -> None:
    assert send_raw(contract, "http://x/health/live").status == 200


def test_reserved_word_in_a_path_is_data_where_data_is_expected(contract: RunningService) -> None:
    response = send_raw(contract, "/webmessages/external-references/attachments/recipients")
    assert (response.status, response.body) == (200, b"[]")
    assert send_raw(contract, "/webmessages/recipients").status == 400


def test_404_of_a_path_is_a_problem(contract: RunningService) -> None:
    value = read_problem(contract.client.get("/nowhere"), 404, "Not Found")
    assert value["detail"] == "No operation has this path"
