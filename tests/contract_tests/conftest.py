"""Run a server to check, intact by default, and the mock Open-E behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from budkavle.clock import now
from budkavle.demo.issuer import DemoIssuer
from conftest import create_database
from mock_open_e import MockOpenE
from tests.contract_tests.breakages import Case
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server, running_target
from tests.mock_servers import running_mock


@pytest.fixture(scope="module")
def open_e_url() -> Iterator[str]:
    with running_mock(MockOpenE()) as url:
        yield url


@pytest.fixture
def case() -> Case | None:
    return None


@pytest.fixture
def breakage(case: Case | None) -> Breakage | None:
    return None if case is None else case.breakage


@pytest.fixture
def issuer(case: Case | None) -> DemoIssuer | None:
    return None if case is None or case.token is None else DemoIssuer(now)


@pytest.fixture
def server(
    request: pytest.FixtureRequest,
    open_e_url: str,
    breakage: Breakage | None,
    issuer: DemoIssuer | None,
    tmp_path: Path,
) -> Iterator[Server]:
    request.param = getattr(request, "param", "sqlite")
    with running_target(create_database(request, tmp_path), open_e_url, tmp_path, breakage, issuer) as server:
        yield server
