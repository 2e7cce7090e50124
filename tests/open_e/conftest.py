"""Raw peers on real sockets that misbehave."""

import socket
from collections.abc import Callable, Iterator

import pytest

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
