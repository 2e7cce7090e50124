"""Open-E for the commands that settle messages."""

from collections.abc import Iterator

import pytest

from mock_open_e import MockOpenE
from tests.mock_servers import running_mock


@pytest.fixture
def mock() -> MockOpenE:
    return MockOpenE()


@pytest.fixture
def address(mock: MockOpenE) -> Iterator[str]:
    """Yield the address of the mock, which serves on a port."""
    with running_mock(mock) as address:
        yield address
