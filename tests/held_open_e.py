"""Run an Open-E on a real port that holds each call until the test releases it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from mock_open_e import MockOpenE

SECONDS = 60
"""Maximum seconds of any wait before the test fails."""


class HeldOpenE:
    """Counts the calls that have arrived, and responds to them like the mock after `release_calls`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/callback"
        self.mock = MockOpenE()
        self.calls = 0
        self._arrived = threading.Condition()
        self._is_released = threading.Event()

    def wait_for_calls(self, count: int) -> None:
        """Return when that number of calls has arrived completely."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.calls >= count, SECONDS), (
                f"{self.calls} of {count} calls arrived"
            )

    def release_calls(self) -> None:
        """Release all calls, including later ones."""
        self._is_released.set()

    def hold_calls(self) -> None:
        """Hold later calls again."""
        self._is_released.clear()

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the status and body of the response, once it is released."""
        response = self.mock.respond("external", headers, body)
        with self._arrived:
            self.calls += 1
            self._arrived.notify_all()
        assert self._is_released.wait(SECONDS), "the test did not release the call"
        return response.status, response.body


class _Handler(BaseHTTPRequestHandler):
    open_e: ClassVar[HeldOpenE]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, response = self.open_e.take({name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_args: object) -> None:
        """Ignore errors: killed callers close their connections."""


@contextmanager
def held_open_e() -> Iterator[HeldOpenE]:
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        held = handler.open_e = HeldOpenE(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield held
        finally:
            held.release_calls()
            server.shutdown()
            thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port at which connections are refused, and which no other program gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
