"""Deliberately broken servers: a harness that misses one of them proves nothing of the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import new_database
from open_e.mock import MockOpenE
from tests.contract_tests.breakages import BREAKAGES, Case
from tests.contract_tests.breakages_found import FOUND
from tests.contract_tests.breakages_of_deliveries import OF_DELIVERIES
from tests.contract_tests.breakages_of_events import OF_EVENTS
from tests.contract_tests.breakages_of_messages import OF_MESSAGES
from tests.contract_tests.breakages_of_requests import OF_REQUESTS
from tests.contract_tests.breakages_of_systems import OF_SYSTEMS
from tests.contract_tests.checking import Server, pem, running_target
from tests.contract_tests.odd_servers import odd_server
from tests.handlers.callers import new_certificate
from tests.mock_servers import running_mock


@pytest.fixture(scope="module")
def open_e_url() -> Iterator[str]:
    with running_mock(MockOpenE()) as url:
        yield url


@pytest.fixture
def server(case: Case, request: pytest.FixtureRequest, open_e_url: str, tmp_path: Path) -> Iterator[Server]:
    request.param = "sqlite"
    with running_target(new_database(request, tmp_path), open_e_url, tmp_path, case.breakage) as server:
        yield server


ALL = BREAKAGES | FOUND | OF_MESSAGES | OF_REQUESTS | OF_SYSTEMS | OF_EVENTS | OF_DELIVERIES


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_broken_server_is_caught(case: Case, server: Server, tmp_path: Path) -> None:
    how = ("--spec", case.spec, "--suite", case.suite, "--profile", case.profile)

    ended = server.check(tmp_path, *how, "--fail-fast")

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "BREAKS the contract" in ended.stdout
    assert case.words in ended.stdout
    assert "reproduce with:" in ended.stdout
    assert "curl" in ended.stdout


def test_server_that_answers_no_more_ends_the_check(tmp_path: Path) -> None:
    """Told as a failure, after the first checks without an answer, and nothing else is tried."""
    certificate = tmp_path / "client.pem"
    certificate.write_text(pem(new_certificate().header))
    with odd_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", dies=True) as url:
        ended = Server(url, certificate, "").check(tmp_path, "--spec", "web-messages")

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "no answer: " in ended.stdout
    assert "ended before all was checked" in ended.stdout
    assert "schema of" not in ended.stdout
