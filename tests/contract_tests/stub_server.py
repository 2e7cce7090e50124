"""Run a server that has one response per method, and records the requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StubServer(ThreadingHTTPServer):
    """A server. `responses` maps a method, or a method and the beginning of a path, to a status and a text."""

    # A caller with an open connection must not keep this server running.
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.responses: dict[str, tuple[int, str]] = {}
        self.silent = ""
        """The method whose requests get no response: the connection is closed."""
        self.requests: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: StubServer

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, body))
        if self.command == self.server.silent:
            self.close_connection = True
            return
        keys = [key for key in self.server.responses if f"{self.command} {self.path}".startswith(key)]
        status, text = self.server.responses[max(keys, key=len)]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return the handler: the base class looks up a method with the name of the request's method."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Log nothing: the test reads the recorded requests."""


@contextmanager
def running_stub() -> Iterator[StubServer]:
    with StubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
