"""Services that the tests of a module share; each test uses its own ids."""

from collections.abc import Iterator

import pytest

from budkavle.setting_values import COMPATIBILITY_APIS
from conftest import RunningService, create_database, running_service
from mock_open_e import MockOpenE, mock_open_e
from tests.catalogue_rows import put_message_types
from tests.handlers.callers import Caller, create_caller

OPEN_E_URLS = {
    "open_e_external_url": "http://open-e.test/external/api/callback",
    "open_e_internal_url": "http://open-e.test/internal/api/callback",
}


@pytest.fixture(scope="module")
def shared_open_e() -> Iterator[MockOpenE]:
    """Yield the mock Open-E behind the shared services."""
    with mock_open_e() as mock:
        yield mock


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_open_e: MockOpenE
) -> Iterator[RunningService]:
    """Yield the running service on each database, for all tests of a module."""
    url = create_database(request, tmp_path_factory.mktemp("shared"))
    with running_service(database_url=url, **OPEN_E_URLS) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def subscribing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield the running service on each database, with message types; it trusts the `Client-Cert` header."""
    url = create_database(request, tmp_path_factory.mktemp("subscribing"))
    put_message_types(url)
    with running_service(database_url=url, trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture
def caller(subscribing: RunningService) -> Caller:
    """Return a caller with its own system."""
    return create_caller(subscribing)


@pytest.fixture
def subscribing_alone(database_url: str) -> Iterator[RunningService]:
    """Yield the same for a single test, which may break the database."""
    put_message_types(database_url)
    with running_service(database_url=database_url, trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def contract(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes, shared_open_e: MockOpenE
) -> Iterator[RunningService]:
    """Yield a running service with all contracts for tests of responses that do not depend on the database."""
    path = tmp_path_factory.mktemp("contract") / "test.db"
    path.write_bytes(migrated_sqlite)
    apis = ",".join(COMPATIBILITY_APIS)
    with running_service(database_url=f"sqlite:///{path}", compatibility_apis=apis, **OPEN_E_URLS) as running:
        yield running
