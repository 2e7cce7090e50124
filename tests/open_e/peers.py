"""Peers of the Open-E client: real sockets that respond, misbehave or stay silent, and the client that calls them."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from domain.web_messages import Attachment, ExternalReference, OepInstance, WebMessage
from open_e.accounts import Account
from open_e.client import OpenEClient
from tests.response_recording import record_delivery

ADDED = datetime(2026, 2, 19, 7, 57, 6, tzinfo=UTC)
PUBLISHED = (
    b'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>'
    b'<addMessageResponse xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">'
    b"<messageID>151</messageID></addMessageResponse></S:Body></S:Envelope>"
)
NEVER = threading.Event()
"""An event that is never set: a peer waits for it to keep its caller waiting."""


class Peer:
    """A server that passes each connection, with its number, to a function in a separate thread."""

    def __init__(self, serve: Callable[[socket.socket, int], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/callback"
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                self._serve(connection, number)
            except OSError:
                # The client has given up, which is expected in most of these tests.
                return

    def close(self) -> None:
        # Shutting down the socket wakes threads that wait in accept and recv.
        for waiting in [self._listener, *self._open]:
            with suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)
            waiting.close()
        for thread in self._threads:
            thread.join(5)


def build_web_message(case=1068, data=None, instance=OepInstance.EXTERNAL):
    files = () if data is None else (Attachment("a", "a.bin", "application/octet-stream", len(data), "", data),)
    references = (ExternalReference("flowInstanceId", str(case)),) if case else (ExternalReference("other", "1"),)
    return WebMessage("id", "Hej", references, oep_instance=instance, attachments=files, sender_user_id="joe01doe")


def send_message(url, message=None, connect_timeout=0.3, read_timeout=0.3, **account):
    client = OpenEClient(
        {OepInstance.EXTERNAL: Account(url, **account)},
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        threads=2,
    )
    try:
        return client.add_message(message or build_web_message(), added=ADDED, request_id="request-1")
    finally:
        client.close()


def read_request(connection):
    """Read one request to its end, and return head and body. A delivery is checked against its contract."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or raise_client_gone()
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536) or raise_client_gone()
    start, *lines = head.decode().split("\r\n")
    record_delivery(start, [(name, value) for name, _, value in (line.partition(": ") for line in lines)], body)
    return head.decode(), body


def raise_client_gone():
    raise ConnectionError("the client has gone")


def encode_response(body=PUBLISHED, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def serve_responses(*arguments, **options):
    def serve(connection, _):
        while True:
            read_request(connection)
            connection.sendall(encode_response(*arguments, **options))

    return serve


def send_slowly(connection, data):
    for byte in data:
        connection.sendall(bytes([byte]))
        NEVER.wait(0.05)


def catch_error_within(seconds, error, *arguments, **options):
    started = time.monotonic()
    with pytest.raises(error) as caught:
        send_message(*arguments, **options)
    assert time.monotonic() - started < seconds
    return str(caught.value)
