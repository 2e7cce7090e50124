"""Run a receiver of events on a real port that responds at once, or when the test releases it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.response_recording import record_delivery

SECONDS = 60
"""Maximum seconds of any wait before the test fails."""


class HeldReceiver:
    """Records the bodies of calls, and responds with a status; while it is held, after `release_calls`."""

    def __init__(self, port: int, status: int, *, is_held: bool) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.status = status
        self.bodies: list[dict[str, Any]] = []
        self.trace_parents: list[str | None] = []
        self._arrived = threading.Condition()
        self._is_released = threading.Event()
        if not is_held:
            self.release_calls()

    def wait_for_calls(self, count: int) -> None:
        """Return when that number of calls has arrived completely."""
        with self._arrived:
            has_arrived = self._arrived.wait_for(lambda: len(self.bodies) >= count, SECONDS)
            assert has_arrived, f"{len(self.bodies)} of {count} calls arrived"

    def release_calls(self) -> None:
        """Release all calls, including later ones."""
        self._is_released.set()

    def take(self, body: bytes) -> int:
        """Return the status of the response, once it is released."""
        with self._arrived:
            self.bodies.append(json.loads(body))
            self._arrived.notify_all()
        assert self._is_released.wait(SECONDS), "the test did not release the call"
        return self.status


class _Handler(BaseHTTPRequestHandler):
    receiver: ClassVar[HeldReceiver]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        record_delivery(self.requestline, self.headers.items(), body)
        self.receiver.trace_parents.append(self.headers["traceparent"])
        status = self.receiver.take(body)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"<Sorry>")

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_args: object) -> None:
        """Ignore errors: some tests use callers that disconnect."""


@contextmanager
def held_receiver(status: int = 200, *, is_held: bool = True) -> Iterator[HeldReceiver]:
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        handler.receiver = receiver = HeldReceiver(server.server_port, status, is_held=is_held)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.release_calls()
            server.shutdown()
            thread.join(SECONDS)
