"""A pytest plugin with the mock Open-E as fixtures. pytest finds it wherever this package is installed.

    def test_it(open_e_mock):
        ...                                        # code under test posts with `requests`
        assert open_e_mock.messages[0]["message"] == "Hej"

    @pytest.mark.open_e_mock(cases=1068, strict=True)       # options of `mock_open_e`
    def test_it_strictly(open_e_mock): ...

    def test_over_a_port(open_e_server):                    # for clients that do not use `requests`
        ...                                        # code under test posts to open_e_server.callback_url()
        assert open_e_server.messages[0]["message"] == "Hej"

The mock is imported only when a test uses the fixture, so that other tests do not pay for the import.
"""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mock_open_e import MockOpenE, OpenEServer


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "open_e_mock(**options): options of `mock_open_e` for the fixture open_e_mock")


@pytest.fixture
def open_e_mock(request: pytest.FixtureRequest) -> "Iterator[MockOpenE]":
    """Yield a new `MockOpenE` that intercepts all calls of this process through `requests`."""
    from mock_open_e import mock_open_e

    marker = request.node.get_closest_marker("open_e_mock")
    options = {} if marker is None else dict(marker.kwargs)
    known = inspect.signature(mock_open_e).parameters
    unknown = [name for name in options if name not in known]
    if marker is not None and (marker.args or unknown):
        wrong = [*map(repr, marker.args), *(f"{name}=…" for name in unknown)]
        pytest.fail(
            f"the marker open_e_mock does not accept {', '.join(wrong)}; "
            f"its keyword arguments are {', '.join(known)}: "
            "@pytest.mark.open_e_mock(cases={1068})",
            pytrace=False,
        )
    with mock_open_e(**options) as mock:
        yield mock


@pytest.fixture(scope="session")
def open_e_server_url() -> Iterator[str]:
    """Yield the URL of a server of the mock that runs until the end of all tests. Needs `mock-open-e[server]`."""
    from mock_open_e.server_process import running_server

    with running_server() as url:
        yield url


@pytest.fixture
def open_e_server(open_e_server_url: str) -> "OpenEServer":
    """Return a new `OpenEServer`, a mock on a real port that no other test uses."""
    from mock_open_e.server_process import new_server

    return new_server(open_e_server_url)
