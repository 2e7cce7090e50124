"""Open-E for the commands that settle messages, and the database of another service for those that import."""

from collections.abc import Iterator

import pytest

from mock_open_e import MockOpenE
from tests.mariadb import MariaDb, OldService, running_mariadb
from tests.mock_servers import running_mock


@pytest.fixture
def mock() -> MockOpenE:
    return MockOpenE()


@pytest.fixture
def address(mock: MockOpenE) -> Iterator[str]:
    """Yield the address of the mock, which serves on a port."""
    with running_mock(mock) as address:
        yield address


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    with running_mariadb() as server:
        yield server


@pytest.fixture
def old(mariadb: MariaDb) -> OldService:
    """Return an empty database of the old service."""
    return mariadb.create()
