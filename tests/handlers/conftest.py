"""Services that the tests of one module share: what they store, they tell apart by ids of their own."""

from collections.abc import Iterator

import pytest

from conftest import RunningService, new_database, running_service
from mock_open_e import MockOpenE, mock_open_e
from tests.catalogue_rows import put_message_types
from tests.handlers.callers import Caller, new_caller

OPEN_E_URLS = {
    "open_e_external_url": "http://open-e.test/external/api/callback",
    "open_e_internal_url": "http://open-e.test/internal/api/callback",
}


@pytest.fixture(scope="module")
def shared_open_e() -> Iterator[MockOpenE]:
    """The mock Open-E behind the shared services."""
    with mock_open_e() as mock:
        yield mock


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_open_e: MockOpenE
) -> Iterator[RunningService]:
    """The running service on each database, for all tests of a module."""
    url = new_database(request, tmp_path_factory.mktemp("shared"))
    with running_service(database_url=url, **OPEN_E_URLS) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def subscribing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The running service on each database, with message types; it believes the `Client-Cert` header of its callers."""
    url = new_database(request, tmp_path_factory.mktemp("subscribing"))
    put_message_types(url)
    with running_service(database_url=url, trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture
def caller(subscribing: RunningService) -> Caller:
    """A caller with a system of its own."""
    return new_caller(subscribing)


@pytest.fixture
def subscribing_alone(database_url: str) -> Iterator[RunningService]:
    """The same for one test, which may break the database."""
    put_message_types(database_url)
    with running_service(database_url=database_url, trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def contract(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes, shared_open_e: MockOpenE
) -> Iterator[RunningService]:
    """A running service for tests of answers that no database has a part in."""
    path = tmp_path_factory.mktemp("contract") / "test.db"
    path.write_bytes(migrated_sqlite)
    with running_service(database_url=f"sqlite:///{path}", **OPEN_E_URLS) as running:
        yield running
