"""The operations page on each database, shared by the tests of a module; each test uses its own system."""

from collections.abc import Iterator

import pytest

from conftest import create_database
from tests.databases import run_with_database
from tests.handlers.operations_page.operations import Page, put_keys, running_page
from tests.persistence.catalogues import prepare


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield the page, which may change things, with a catalogue and keys."""
    url = create_database(request, tmp_path_factory.mktemp("operations"))
    run_with_database(url, prepare)
    put_keys(url)
    with running_page(url, trusted_proxies="127.0.0.1") as running:
        yield running
