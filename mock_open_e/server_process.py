"""The mock as a server in a separate process, for tests whose client does not use `requests` or Python."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import requests

if TYPE_CHECKING:
    from mock_open_e.behaviour.orders import Instance
    from mock_open_e.behaviour.state import MessageJson

START_SECONDS = 30
"""Maximum seconds until the server listens."""

STOP_SECONDS = 10
"""Maximum seconds until the server has stopped."""

_CALL_SECONDS = 30
_POLL_SECONDS = 0.02


class ServerFailed(Exception):
    """The server did not start. The text contains its standard error."""


class OpenEServer:
    """One mock Open-E below a URL. Each has its own cases, messages and faults."""

    def __init__(self, url: str) -> None:
        self.url = url
        """Its address, without a slash at the end."""

    def callback_url(self, instance: "Instance" = "external") -> str:
        """Return the address of the integration callback of an instance."""
        return f"{self.url}/{instance}/api/callback"

    @property
    def messages(self) -> "list[MessageJson]":
        """The stored messages, oldest first, as `GET /control/messages` returns them."""
        messages: list[MessageJson] = self.control("GET", "messages")
        return messages

    def control(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """Call the control API and return its JSON, None if the response has no body.

        `path` follows `/control/`; `body` is sent as JSON. Raises `requests.HTTPError` for responses with an error.
        """
        with requests.Session() as session:
            # A proxy of the environment cannot reach this machine.
            session.trust_env = False
            url = f"{self.url}/control/{path}"
            response = session.request(method, url, json=body, params=query, timeout=_CALL_SECONDS)
        response.raise_for_status()
        return response.json() if response.content else None


@contextmanager
def running_server() -> Iterator[str]:
    """Run the server on a free port of this machine and yield its URL. Needs `mock-open-e[server]`.

    Raises `ServerFailed`.
    """
    with TemporaryDirectory(prefix="mock-open-e-") as folder, Path(folder, "log").open("w+b") as log:
        ready = Path(folder, "ready")
        # `-P`: the working directory may have a folder with the name of this package.
        command = [sys.executable, "-P", "-m", "mock_open_e", "--port", "0", "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            yield _wait_until_ready(process, ready, Path(log.name))
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def new_server(url: str) -> OpenEServer:
    """Return a new mock of the server at this URL."""
    return OpenEServer(f"{url}/s/{uuid4().hex}")


def _wait_until_ready(process: "subprocess.Popen[bytes]", ready: Path, log: Path) -> str:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        address = ready.read_text(encoding="utf-8").strip() if ready.exists() else ""
        if address:
            return address
        time.sleep(_POLL_SECONDS)
    raise ServerFailed(f"the mock Open-E did not start: {log.read_text(encoding='utf-8', errors='replace').strip()}")
