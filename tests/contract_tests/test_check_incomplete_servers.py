"""Servers that are missing or incomplete: the verdict says so at once, on one screen, and the check leaves no rows."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.contract_tests.checking import Server, encode_pem
from tests.contract_tests.stub_server import StubServer, running_stub
from tests.handlers.callers import create_certificate

PAGE = "<!doctype html><h1>Welcome</h1>"
SYNC_ALONE = {"GET /": (404, PAGE), "POST /": (404, PAGE), "POST /v1/abonnement/sync": (200, "{}")}
NO_CATALOGUE = SYNC_ALONE | {"GET /v1/abonnement?": (200, '{"abonnementer": []}')}
NO_LIST = NO_CATALOGUE | {"GET /v1/abonnement?": (200, "{}")}
NO_TYPES = NO_CATALOGUE | {"GET /v1/beskedtype": (200, "{}")}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with running_stub() as server:
        yield server


def check(server: StubServer, folder: Path, *options: str) -> CompletedProcess[str]:
    certificate = folder / "client.pem"
    certificate.write_text(encode_pem(create_certificate().header))
    return Server(server.url, certificate, "").check(folder, *options)


@pytest.mark.parametrize("text", [PAGE, "{}"], ids=["a page", "an empty object"])
@pytest.mark.parametrize("spec", ["all", "web-messages"])
def test_server_with_one_response_for_everything_is_reported_once(
    spec: str, text: str, server: StubServer, tmp_path: Path
) -> None:
    server.responses = dict.fromkeys(("GET", "POST", "DELETE"), (200, text))
    result = check(server, tmp_path, "--spec", spec)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"an unknown message must get a 404, but got 200 {text}" in result.stdout
    assert "/webmessages/00000000-0000-4000-8000-000000000000" in result.stdout
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("responses", "code", "words"),
    [
        (SYNC_ALONE, 2, "the server has no GET /v1/abonnement (404"),
        (NO_CATALOGUE, 2, "the server has no GET /v1/beskedtype/tilladte (404"),
        (NO_LIST, 1, "does not have the form of the contract: no list of abonnementer, but 200 {}"),
        (NO_TYPES, 1, "does not have the form of the contract: no list of beskedtyper, but 200 {}"),
    ],
    ids=["sync alone", "no catalogue", "no list", "no types"],
)
def test_server_without_subscription_support_is_reported_with_what_it_lacks(
    responses: dict[str, tuple[int, str]], code: int, words: str, server: StubServer, tmp_path: Path
) -> None:
    server.responses = responses
    result = check(server, tmp_path, "--spec", "subscriptions")
    assert result.returncode == code, result.stdout + result.stderr
    assert words in result.stdout + result.stderr
    # A dry run changes nothing.
    changing = {path for method, path, _ in server.requests if method != "GET"}
    assert changing <= {"/v1/abonnement/sync?dryRun=true"}
