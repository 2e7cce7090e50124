"""Run servers that do not follow HTTP, each on its own socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def odd_server(*pieces: bytes, is_endless: bool = False, dies: bool = False) -> Iterator[str]:
    """Send these bytes to each client, and with `is_endless` repeat the last of them for ever.

    A server that dies sends them once, and then closes every connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def serve() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        send(connection)
            except OSError:
                # The test has ended.
                return

        def send(connection: socket.socket) -> None:
            nonlocal pieces
            try:
                connection.recv(65_536)
                for piece in pieces:
                    connection.sendall(piece)
                while is_endless and not stopped.is_set():
                    connection.sendall(pieces[-1])
                pieces = () if dies else pieces
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)
