"""The issuer of the demo: its tokens are accepted, and its errors have the form of RFC 6749."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from budkavle.clock import now
from budkavle.demo.issuer import CLIENT, ISSUER, LARGEST_BODY, PATH, SCOPES, SECRET, DemoIssuer
from budkavle.issuers_file import read_issuers
from oauth2.tokens import TokenRefused, VerifiedToken
from oauth2.verification import TokenVerifier
from tests.contract_tests.issuing import running_issuer

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def issuer() -> DemoIssuer:
    return DemoIssuer(now)


@pytest.fixture
def client(issuer: DemoIssuer) -> Iterator[httpx.Client]:
    with (
        running_issuer(issuer) as url,
        httpx.Client(base_url=url.removesuffix(PATH), trust_env=False, verify=False) as client,
    ):
        yield client


def verify(issuer: DemoIssuer, token: str, folder: Path) -> VerifiedToken:
    """Verify a token as the service does, with the file that the issuer wrote."""
    verifier = TokenVerifier(read_issuers(issuer.write_files(folder)).issuers, now=now)
    return asyncio.run(verifier.verify(token.encode()))


def test_token_is_one_of_rfc_9068(issuer: DemoIssuer, tmp_path: Path) -> None:
    token = verify(issuer, issuer.create_token("messages"), tmp_path)
    assert (token.caller, token.scopes) == (f"{ISSUER}#{CLIENT}", {"messages.read", "messages.write"})
    assert verify(issuer, issuer.create_token(*SCOPES), tmp_path).scopes == {
        "messages.read",
        "messages.write",
        "publish",
    }


def test_tokens_end(tmp_path: Path) -> None:
    issuer = DemoIssuer(lambda: now() - timedelta(hours=1, seconds=11))
    with pytest.raises(TokenRefused, match="has expired"):
        verify(issuer, issuer.create_token("messages"), tmp_path)


def test_each_issuer_has_its_own_key(issuer: DemoIssuer, tmp_path: Path) -> None:
    with pytest.raises(TokenRefused):
        verify(issuer, DemoIssuer(now).create_token("messages"), tmp_path)


def test_files_contain_no_private_key(issuer: DemoIssuer, tmp_path: Path) -> None:
    issuer.write_files(tmp_path)
    assert '"d"' not in (tmp_path / "jwks.json").read_text()


WAYS = {
    "header": {"auth": (CLIENT, SECRET), "data": GRANT},
    "encoded": {"auth": ("%64emo", "dem%6F"), "data": GRANT},
    "body": {"data": {**GRANT, "client_id": CLIENT, "client_secret": SECRET}},
}


@pytest.mark.parametrize("call", WAYS.values(), ids=WAYS.keys())
def test_endpoint_issues_a_token(call: dict, client: httpx.Client, issuer: DemoIssuer, tmp_path: Path) -> None:
    response = client.post(PATH, **call)
    value = response.json()
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    assert verify(issuer, value.pop("access_token"), tmp_path).scopes
    assert value == {"token_type": "Bearer", "expires_in": 3600, "scope": "messages publish"}


def test_endpoint_grants_the_requested_scopes(client: httpx.Client, issuer: DemoIssuer, tmp_path: Path) -> None:
    response = client.post(PATH, auth=(CLIENT, SECRET), data={**GRANT, "scope": "publish"})
    assert verify(issuer, response.json()["access_token"], tmp_path).scopes == {"publish"}


AUTH = {"auth": (CLIENT, SECRET)}
REFUSALS = {
    "no credentials": ({"data": GRANT}, 401, "invalid_client"),
    "wrong secret": ({"auth": (CLIENT, "x"), "data": GRANT}, 401, "invalid_client"),
    "wrong client": ({"auth": ("x", SECRET), "data": GRANT}, 401, "invalid_client"),
    "no base64": ({"headers": {"Authorization": "Basic ?"}, "data": GRANT}, 401, "invalid_client"),
    "no grant": ({**AUTH, "data": {}}, 400, "invalid_request"),
    "twice": (
        {**AUTH, "content": b"grant_type=client_credentials&scope=publish&scope=messages"},
        400,
        "invalid_request",
    ),
    "other grant": ({**AUTH, "data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
    "other scope": ({**AUTH, "data": {**GRANT, "scope": "messages admin"}}, 400, "invalid_scope"),
    "no UTF-8": ({**AUTH, "content": b"grant_type=\xff"}, 400, "unsupported_grant_type"),
}


@pytest.mark.parametrize(("call", "status", "error"), REFUSALS.values(), ids=REFUSALS.keys())
def test_endpoint_reports_errors(call: dict, status: int, error: str, client: httpx.Client) -> None:
    response = client.post(PATH, **call)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json()["error_description"]


def test_endpoint_refuses_large_bodies_and_other_methods(client: httpx.Client) -> None:
    assert client.post(PATH, content=b"x" * (LARGEST_BODY + 1)).status_code == 413
    assert client.get(PATH).status_code == 405


def test_other_paths_are_those_of_the_receiver(client: httpx.Client) -> None:
    assert "Demo receiver" in client.get("/").text
    assert client.post("/webhook", content=b"{}").status_code == 401
