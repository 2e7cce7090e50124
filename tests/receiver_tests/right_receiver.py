"""A receiver that keeps the contract, as the base of receivers that break it."""

import hmac
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from tests.webhook_receivers import KEY


@dataclass(frozen=True)
class Request:
    """A request as it was received."""

    method: str
    headers: Any
    body: bytes
    number: int = 1
    """Its position among the requests of its connection."""

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def timestamp(self) -> str:
        return self.headers.get("webhook-timestamp", "")

    @property
    def signatures(self) -> str:
        return self.headers.get("webhook-signature", "")


class RightReceiver:
    """A receiver that keeps the contract. `done` has its deliveries in order; `has_ended` ends slow work."""

    server_class: type[HTTPServer] = ThreadingHTTPServer
    content = b""
    """The body of each answer but a 204."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Further headers of each answer but a redirect."""
    content_length: int | None = None
    """Its `Content-Length`, if that is not its length."""

    def __init__(self) -> None:
        self.done: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.has_ended = threading.Event()

    def read_body(self, handler: BaseHTTPRequestHandler) -> bytes:
        return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))

    def respond(self, request: Request) -> int | None:
        """Return the status, or None to close the connection."""
        if request.method != "POST":
            return 405
        if not self.is_recent(request) or not self.is_authentic(request):
            return 401
        return self.accept(request)

    def is_recent(self, request: Request) -> bool:
        is_number = request.timestamp.isascii() and request.timestamp.isdecimal() and len(request.timestamp) <= 12
        return is_number and abs(time.time() - int(request.timestamp)) <= 300

    def is_authentic(self, request: Request) -> bool:
        expected = self.sign(request).encode()
        return any(
            hmac.compare_digest(expected, given.removeprefix("v1,").encode("utf-8", "surrogateescape"))
            for given in request.signatures.split()
            if given.startswith("v1,")
        )

    def sign(self, request: Request) -> str:
        signed = f"{request.id}.{request.timestamp}.".encode() + request.body
        return b64encode(hmac.digest(KEY, signed, "sha256")).decode()

    def accept(self, request: Request) -> int:
        with self.lock:
            if request.id not in self.list_ids():
                self.store(request)
        return 204

    def store(self, request: Request) -> None:
        self.done.append({"id": request.id, "sha256": sha256(request.body).hexdigest()})

    def list_ids(self) -> list[str]:
        return [entry["id"] for entry in self.done]


@contextmanager
def serving(receiver: RightReceiver, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the URL of the webhook of a receiver, optionally with TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        requests = 0

        def handle_request(self) -> None:
            try:
                body = receiver.read_body(self)
                self.requests += 1
                status = receiver.respond(Request(self.command, self.headers, body, self.requests))
            except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
                status = 500
            if status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            headers = {"Location": f"{self.path}/"} if status == 307 else receiver.headers
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                length = len(receiver.content) if receiver.content_length is None else receiver.content_length
                self.send_header("Content-Length", str(length))
                self.close_connection = receiver.content_length is not None
            self.end_headers()
            if status != 204 and self.command != "HEAD":
                self.wfile.write(receiver.content)

        do_GET = do_HEAD = do_POST = handle_request  # noqa: N815  # The names of the library.

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(receiver.server_class):  # type: ignore[name-defined, misc]
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Ignore clients that close the connection."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        # The handshake is made by the thread of the connection.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/star/webhook"
    finally:
        receiver.has_ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
