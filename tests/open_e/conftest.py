"""Real peers on real sockets: raw ones that misbehave, and the mock's server."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from budkavle.mock_server import server
from open_e.mock import Answer, Instance, MockOpenE
from tests.open_e.peers import Peer


@pytest.fixture
def peer() -> Iterator[Callable[[Callable[[socket.socket, int], None]], Peer]]:
    peers: list[Peer] = []

    def start(serve: Callable[[socket.socket, int], None]) -> Peer:
        peers.append(Peer(serve))
        return peers[-1]

    yield start
    for each in peers:
        each.close()


@contextmanager
def _running(mock: MockOpenE) -> Iterator[str]:
    """The mock's server on a free port, in a thread; gives its address without a slash at the end."""
    uvicorn_server = server(mock, "127.0.0.1", 0, signals=False)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=uvicorn_server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        uvicorn_server.should_exit = True
        thread.join(10)
        listener.close()


class WatchedMock(MockOpenE):
    """A mock that tells when it has dealt with a request, before its door answers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dealt_with = threading.Event()

    def answer(
        self, instance: Instance, headers: Mapping[str, str], body: bytes | bytearray = b"", **options: Any
    ) -> Answer:
        answer = super().answer(instance, headers, body, **options)
        self.dealt_with.set()
        return answer


@pytest.fixture
def mock() -> WatchedMock:
    return WatchedMock(cases={1068})


@pytest.fixture
def mock_url(mock: WatchedMock) -> Iterator[str]:
    with _running(mock) as url:
        yield url


@pytest.fixture
def run_mock() -> Callable[[MockOpenE], AbstractContextManager[str]]:
    """Runs another mock on another port: `with run_mock(mock) as url`."""
    return _running


@pytest.fixture(scope="module")
def idle_mock_url() -> Iterator[str]:
    """The address of a mock that a module's tests share, because they change nothing in it."""
    with _running(MockOpenE()) as url:
        yield url
