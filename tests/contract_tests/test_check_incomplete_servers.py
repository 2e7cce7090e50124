"""Servers that are missing or incomplete: the verdict says so at once, on one screen, and the check leaves no rows."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.contract_tests.answering import Answering, answering
from tests.contract_tests.checking import Server, pem
from tests.handlers.callers import new_certificate

PAGE = "<!doctype html><h1>Welcome</h1>"
SYNC_ALONE = {"GET /": (404, PAGE), "POST /": (404, PAGE), "POST /v1/abonnement/sync": (200, "{}")}
NO_CATALOGUE = SYNC_ALONE | {"GET /v1/abonnement?": (200, '{"abonnementer": []}')}
NO_LIST = NO_CATALOGUE | {"GET /v1/abonnement?": (200, "{}")}
NO_TYPES = NO_CATALOGUE | {"GET /v1/beskedtype": (200, "{}")}


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as server:
        yield server


def check(server: Answering, folder: Path, *options: str) -> CompletedProcess[str]:
    certificate = folder / "client.pem"
    certificate.write_text(pem(new_certificate().header))
    return Server(server.url, certificate, "").check(folder, *options)


@pytest.mark.parametrize("text", [PAGE, "{}"], ids=["a page", "an empty object"])
@pytest.mark.parametrize("spec", ["all", "web-messages"])
def test_server_with_one_response_for_everything_is_reported_once(
    spec: str, text: str, server: Answering, tmp_path: Path
) -> None:
    server.answers = dict.fromkeys(("GET", "POST", "DELETE"), (200, text))
    ended = check(server, tmp_path, "--spec", spec)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"an unknown message must get a 404, but got 200 {text}" in ended.stdout
    assert "/webmessages/00000000-0000-4000-8000-000000000000" in ended.stdout
    assert len(server.came) == 1


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (SYNC_ALONE, 2, "the server has no GET /v1/abonnement (404"),
        (NO_CATALOGUE, 2, "the server has no GET /v1/beskedtype/tilladte (404"),
        (NO_LIST, 1, "does not have the form of the contract: no list of abonnementer, but 200 {}"),
        (NO_TYPES, 1, "does not have the form of the contract: no list of beskedtyper, but 200 {}"),
    ],
    ids=["sync alone", "no catalogue", "no list", "no types"],
)
def test_server_without_subscription_support_is_reported_with_what_it_lacks(
    answers: dict[str, tuple[int, str]], code: int, words: str, server: Answering, tmp_path: Path
) -> None:
    server.answers = answers
    ended = check(server, tmp_path, "--spec", "subscriptions")
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert words in ended.stdout + ended.stderr
    # A dry run changes nothing.
    changing = {path for method, path, _ in server.came if method != "GET"}
    assert changing <= {"/v1/abonnement/sync?dryRun=true"}
