"""Servers that keep the contract in another way than ours: none of them may be told to break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import new_database
from open_e.mock import MockOpenE
from tests.contract_tests.checking import Server, running_target
from tests.contract_tests.variations import VARIATIONS, together
from tests.mock_servers import running_mock


@pytest.fixture(scope="module")
def open_e_url() -> Iterator[str]:
    with running_mock(MockOpenE()) as url:
        yield url


@pytest.fixture
def server(request: pytest.FixtureRequest, open_e_url: str, tmp_path: Path) -> Iterator[Server]:
    request.param = "sqlite"
    with running_target(new_database(request, tmp_path), open_e_url, tmp_path, together(*VARIATIONS)) as server:
        yield server


@pytest.mark.parametrize("spec", ["web-messages", "subscriptions"])
def test_server_that_does_all_that_is_left_to_it_in_another_way_keeps_the_contract(
    spec: str, server: Server, tmp_path: Path
) -> None:
    ended = server.check(tmp_path, "--spec", spec, "--suite", "rules")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "keeps the contract" in ended.stdout
