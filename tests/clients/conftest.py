"""Generate clients from the contracts once per session, and run services for them."""

import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from conftest import RunningService, create_database, running_service
from mock_open_e import MockOpenE, mock_open_e
from tests.catalogue_rows import put_message_types
from tests.clients.generating import Generated, generate_client
from tests.handlers.conftest import OPEN_E_URLS
from tests.held_open_e import closed_port
from tests.issuers import write_issuers

CASE = 1068
"""The only case in Open-E."""


@pytest.fixture(scope="session")
def generate() -> Iterator[Callable[[str], Generated]]:
    """Yield a function that generates the client of a contract on first use."""
    path = sys.path.copy()
    yield cache(generate_client)
    sys.path[:] = path


@pytest.fixture(scope="module")
def open_e_of_clients() -> Iterator[MockOpenE]:
    with mock_open_e(cases={CASE}) as mock:
        yield mock


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, open_e_of_clients: MockOpenE
) -> Iterator[RunningService]:
    """Yield the running service on each database, with message types and an issuer of access tokens.

    It trusts the `Client-Cert` header.
    """
    folder = tmp_path_factory.mktemp("running")
    url = create_database(request, folder)
    put_message_types(url)
    issuers = write_issuers(folder)
    with running_service(database_url=url, issuers=issuers, trusted_proxies="127.0.0.1", **OPEN_E_URLS) as service:
        yield service


@pytest.fixture(scope="module")
def broken() -> Iterator[RunningService]:
    """Yield a service whose database is unreachable."""
    with (
        closed_port() as port,
        running_service(
            database_url=f"postgresql://user:secret@127.0.0.1:{port}/db",
            database_pool_timeout=0.1,
            trusted_proxies="127.0.0.1",
            **OPEN_E_URLS,
        ) as service,
    ):
        yield service
