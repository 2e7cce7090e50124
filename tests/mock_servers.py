"""Run the mock Open-E on a port of this machine, as partners do."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mock_open_e import MockOpenE
from mock_open_e.server.application import create_server
from tests.response_recording import RecordingApp


@contextmanager
def running_mock(mock: MockOpenE) -> Iterator[str]:
    """Run the mock's server on a free port in a thread, and yield its address without a trailing slash."""
    uvicorn_server = create_server(mock, "127.0.0.1", 0, signals=False)
    uvicorn_server.config.app = RecordingApp(uvicorn_server.config.app, "mock")
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=uvicorn_server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        uvicorn_server.should_exit = True
        thread.join(10)
        listener.close()
