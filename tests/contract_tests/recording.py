"""Run a server that records requests, and shell commands against it."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import pytest

from tests.certificates import Authority

SECONDS = 30
Result = TypeVar("Result")
RESPONSE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\nConnection: close\r\n\r\nSeen"


class Recorder:
    """A server that accepts one connection, responds once the expected bytes have arrived, and records them."""

    def __init__(self, authority: Authority | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self._authority = authority
        self._thread = threading.Thread(target=self._serve)
        self.port = self._listener.getsockname()[1]
        self.length = 0
        self.has_head = False
        self._response = RESPONSE
        self.received = b""
        self.certificate: bytes | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._authority is None else 'https'}://127.0.0.1:{self.port}"

    def run(self, line: str, length: int, *, has_head: bool = False, **environment: str) -> bytes:
        """Return the result of a shell command; `length` bytes are expected, after a head with `has_head`."""
        self.has_head = has_head
        command, known = ["sh", "-c", line], {"PATH": os.environ["PATH"], **environment}
        result = self.take(
            length,
            lambda: subprocess.run(command, env=known, capture_output=True, timeout=SECONDS, check=False),
        )
        assert b"Seen" in result.stdout, (line, result.stdout, result.stderr)
        return self.received

    def take(self, length: int, call: Callable[[], Result], response: bytes = RESPONSE) -> Result:
        """Return the result of a call that sends this number of bytes and gets a response."""
        self.length, self._response = length, response
        self._thread.start()
        try:
            return call()
        finally:
            self._thread.join()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(SECONDS)
        with connection, self._secured(connection) as stream:
            if isinstance(stream, ssl.SSLSocket):
                self.certificate = stream.getpeercert(binary_form=True)
            while not self._is_whole() and (piece := stream.recv(65536)):
                self.received += piece
            stream.sendall(self._response)
            # Bytes beyond the expected ones.
            stream.settimeout(0.1)
            with suppress(TimeoutError):
                self.received += stream.recv(65536)

    def _is_whole(self) -> bool:
        _, blank, body = self.received.partition(b"\r\n\r\n")
        return (bool(blank) and len(body) >= self.length) if self.has_head else len(self.received) >= self.length

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._authority is None:
            return connection
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._authority.file))
        context.load_cert_chain(str(self._authority.issue("127.0.0.1").file))
        context.verify_mode = ssl.CERT_OPTIONAL
        return context.wrap_socket(connection, server_side=True)


@contextmanager
def running_recorder(authority: Authority | None = None) -> Iterator[Recorder]:
    """Run a recorder on a port, with TLS if a CA is given."""
    recorder = Recorder(authority)
    try:
        yield recorder
    finally:
        recorder.close()


def skip_without(*programs: str) -> None:
    """Skip a test if these programs are not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
