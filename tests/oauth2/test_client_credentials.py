"""Requests for access tokens with client credentials, and their responses."""

import base64
import json
from urllib.parse import parse_qs, unquote_plus

import pytest

from domain.catalogue import ClientAuthentication, TokenClient
from oauth2.client_credentials import (
    MAX_TOKEN,
    IssuedToken,
    TokenResponseWrong,
    build_token_request,
    parse_token_response,
)

CLIENT = TokenClient("https://login.example/token", "id:1 å", "env:A")
SECRET = "p:%+ ø"


def test_secret_is_in_a_header_by_default() -> None:
    headers, body = build_token_request(CLIENT, SECRET)
    kind, _, encoded = headers["Authorization"].partition(" ")
    pair = base64.b64decode(encoded).decode("ascii").split(":")
    assert (kind, [unquote_plus(part) for part in pair]) == ("Basic", ["id:1 å", SECRET])
    assert body == b"grant_type=client_credentials"


def test_secret_is_in_the_body_if_the_endpoint_wants_it() -> None:
    client = TokenClient("", "id", "env:A", "a b", "https://api", "urn:r", ClientAuthentication.POST)
    headers, body = build_token_request(client, SECRET)
    assert "Authorization" not in headers
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(body.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": [SECRET],
        "scope": ["a b"],
        "audience": ["https://api"],
        "resource": ["urn:r"],
    }


def encode(**changes: object) -> bytes:
    values = {"access_token": "a", "token_type": "Bearer", "expires_in": 60} | changes
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (60, 60),
        ("60", 60),
        (59.5, 59.5),
        (None, 300),
        ("", 300),
        ("6e1", 300),
        (True, 300),
        ([], 300),
        ({}, 300),
        (0, 10),
        (-1, 10),
        (9, 10),
        (86401, 86400),
        (9000000000000000.0, 86400),
        (1e300, 86400),
        ("9" * 18, 86400),
    ],
)
def test_lifetime_is_limited(expires_in: object, seconds: float) -> None:
    assert parse_token_response(200, encode(expires_in=expires_in)) == IssuedToken("a", seconds)


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_type_of_a_token_has_any_case(kind: str) -> None:
    assert parse_token_response(200, encode(token_type=kind)).text == "a"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (201, encode(), "answered 201"),
        (204, b"", "answered 204"),
        (307, b"", "answered 307; redirects are not followed"),
        (400, encode(error="invalid_scope"), "answered 400 invalid_scope"),
        (400, encode(error="hemmelig"), "answered 400"),
        (400, encode(error=["invalid_scope"]), "answered 400"),
        (503, b"<html>", "answered 503"),
        (503, b" " * 70_000, "answered 503"),
        (200, b"[]", "answered with something other than a JSON object"),
        (200, b"\xff", "answered with something other than a JSON object"),
        (200, b'{"access_token": "a", "access_token": "b"}', "answered with something other than a JSON object"),
        (200, encode().ljust(65_537), "answered with more than 65536 bytes"),
        (200, encode(access_token=None), "answered without an access_token that a header may contain"),
        (200, encode(access_token=""), "answered without an access_token that a header may contain"),
        (200, encode(access_token=7), "answered without an access_token that a header may contain"),
        (200, encode(access_token="a\r\nb: c"), "answered without an access_token that a header may contain"),
        (200, encode(access_token="a\n"), "answered without an access_token that a header may contain"),
        (200, encode(access_token="å"), "answered without an access_token that a header may contain"),
        (200, encode(access_token="a" * (MAX_TOKEN + 1)), "answered without an access_token that a header may contain"),
        (200, encode(token_type=None), "answered with another token_type than Bearer"),
        (200, encode(token_type="N_A"), "answered with another token_type than Bearer"),
    ],
)
def test_response_without_a_usable_token_is_refused(status: int, body: bytes, message: str) -> None:
    with pytest.raises(TokenResponseWrong) as caught:
        parse_token_response(status, body)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_longest_token_and_response_are_accepted() -> None:
    assert parse_token_response(200, encode(access_token="a" * MAX_TOKEN).ljust(65_536)).text == "a" * MAX_TOKEN
    assert "aaa" not in repr(IssuedToken("aaa", 1))
