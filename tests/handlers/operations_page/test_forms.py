"""Forms of the operations page: only its own pages can send them, and no bytes cause an internal error."""

from typing import Any
from uuid import uuid4

import pytest
from starlette.requests import Request

from domain.errors import Forbidden, Invalid
from handlers.operations_page.forms import MAX_BYTES, check_origin, parse_fields
from tests.handlers.operations_page.operations import ROOT, Page, put_stuck
from tests.persistence.catalogues import SYSTEM_IDS
from tests.raw_http import send_request

OWN = [
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    {"origin": "http://page.example:8084", "host": "page.example:8084"},
    {"origin": "https://page.example", "host": "page.example"},
]
FOREIGN: list[dict[str, str]] = [
    {},
    {"host": "page.example"},
    {"sec-fetch-site": "cross-site", "origin": "https://page.example", "host": "page.example"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "null", "host": "null"},
    {"origin": "http://page.example:1", "host": "page.example:8084"},
    {"origin": "http://[", "host": "["},
]


def build_request(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw, "query_string": b"", "path": ROOT})


@pytest.mark.parametrize("headers", OWN)
def test_check_origin_accepts_pages_of_this_origin(headers: dict[str, str]) -> None:
    check_origin(build_request(headers))


@pytest.mark.parametrize("headers", FOREIGN)
def test_check_origin_refuses_all_others(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        check_origin(build_request(headers))


@pytest.mark.parametrize(
    "text",
    [b"a=%ff", b"a=\xff", b"a=%00", b"%00=a", b"&".join([b"a=b"] * 51)],
    ids=["utf-8", "ascii", "nul", "name", "many"],
)
def test_parse_fields_refuses_what_no_page_sends(text: bytes) -> None:
    with pytest.raises(Invalid):
        parse_fields(text)


def test_parse_fields_keeps_the_last_of_several() -> None:
    assert parse_fields(b"a=1&a=2&b=&c=%C3%A5+%26") == {"a": "2", "b": "", "c": "\u00e5 &"}


def test_forms_of_other_pages_change_nothing(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[0], 101))
    path = f"{ROOT}/deliveries/{stuck.parked[0]}/replay"
    with page.signed_in() as visitor:
        token = visitor.get(path).text.split('name="token" value="')[1].split('"')[0]
        for site in ("cross-site", "same-site", "none"):
            assert visitor.post(path, {"token": token}, sec_fetch_site=site).status_code == 403
            assert visitor.sign_in("anna", sec_fetch_site=site).status_code == 403
        for other in ("", token[:-1], f"{token}0", "\u00e5"):
            assert visitor.post(path, {"token": other}).status_code == 403
        with page.signed_in("bo") as another:
            # The token is that of another session.
            assert another.post(path, {"token": token}).status_code == 403
        assert visitor.post(path, {"token": token}).status_code == 303


def test_form_must_be_small_and_url_encoded(page: Page) -> None:
    path = f"{ROOT}/deliveries/{uuid4()}/replay"
    with page.signed_in() as visitor:
        form = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        other = {"sec-fetch-site": "same-origin", "content-type": "application/json"}
        assert visitor.client.post(path, content=b"{}", headers=other).status_code == 415
        assert visitor.client.post(path, content=b"a" * (MAX_BYTES + 1), headers=form).status_code == 413
        assert visitor.client.post(path, content=b"a=%ff", headers=form).status_code == 400
        pieces: Any = iter([b"a=", b"b" * MAX_BYTES])
        assert visitor.client.post(path, content=pieces, headers=form).status_code == 413


@pytest.mark.parametrize(
    "line",
    [
        b"GET /operations/%ff HTTP/1.1",
        b"GET /operations/systems/%00 HTTP/1.1",
        b"GET /operations?%ff HTTP/1.1",
        b"GET /operations/sign-in?next=%ff HTTP/1.1",
        b"GET /operations/sign-in?next=//evil.example HTTP/1.1",
        b"POST /operations/sign-in HTTP/1.1",
        b"BREW /operations HTTP/1.1",
        b"GET /operations/static/..%2f..%2fpage.py HTTP/1.1",
        b"GET /operations/ HTTP/1.1",
    ],
)
def test_odd_requests_are_no_internal_errors(page: Page, line: bytes) -> None:
    port = int(page.url.rpartition(":")[2])
    for cookie in (b"", b"cookie: budkavle-operations=\xff\x00\r\n", b"cookie: budkavle-operations=x; =; ;\r\n"):
        if b"\x00" in cookie:
            continue
        response = send_request(port, line + b"\r\nhost: x\r\n" + cookie + b"content-length: 0\r\n\r\n")
        assert response.status < 500, response
        assert b"evil" not in response.body
