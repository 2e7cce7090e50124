"""Services that serve the compatibility APIs, shared by the tests of a module."""

from collections.abc import Iterator

import pytest

from conftest import RunningService, create_database, running_service
from mock_open_e import MockOpenE
from tests.handlers.conftest import OPEN_E_URLS, shared_open_e  # noqa: F401  # The import registers the fixture.

OPEN_E_OF_COUNTY = "http://county.test/external/api/callback"

OWN_OPEN_E = f"""
municipalities:
  "2260":
    internal: {{url: "http://open-e.test/internal/api/callback"}}
  "22":
    external: {{url: "{OPEN_E_OF_COUNTY}"}}
"""
"""The staff's Open-E of a municipality, which has no Open-E for citizens, and that of a county for citizens."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def compatible(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shared_open_e: MockOpenE,  # noqa: F811  # It is the fixture.
) -> Iterator[RunningService]:
    """Yield the running service on each database, with a mock Open-E; it serves three municipalities."""
    folder = tmp_path_factory.mktemp("compatible")
    own = folder / "open-e.yaml"
    own.write_text(OWN_OPEN_E)
    with running_service(
        database_url=create_database(request, folder),
        compatibility_apis="web-messages-3.2,oep-integrator-1.5",
        municipalities="2281,2260,22",
        open_e_municipalities=own,
        audit_read_minutes=60,
        **OPEN_E_URLS,
    ) as running:
        yield running
