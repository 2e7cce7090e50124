"""The mock's server on real sockets."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from mock_open_e import Instance, MockOpenE, MockResponse
from tests.mock_servers import running_mock


class WatchedMock(MockOpenE):
    """A mock that sets an event after it has handled a request, before its server responds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dealt_with = threading.Event()

    def respond(
        self, instance: Instance, headers: Mapping[str, str], body: bytes | bytearray = b"", **options: Any
    ) -> MockResponse:
        response = super().respond(instance, headers, body, **options)
        self.dealt_with.set()
        return response


@pytest.fixture
def mock() -> WatchedMock:
    return WatchedMock(cases={1068})


@pytest.fixture
def mock_url(mock: WatchedMock) -> Iterator[str]:
    with running_mock(mock) as url:
        yield url


@pytest.fixture
def run_mock() -> Callable[[MockOpenE], AbstractContextManager[str]]:
    """Return a function that runs another mock on another port: `with run_mock(mock) as url`."""
    return running_mock


@pytest.fixture(scope="module")
def idle_mock_url() -> Iterator[str]:
    """Yield the address of a mock that the tests of a module share, because they do not change it."""
    with running_mock(MockOpenE()) as url:
        yield url
