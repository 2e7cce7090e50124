"""Run servers that do not follow HTTP, each on its own socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def odd_server(
    *pieces: bytes, is_endless: bool = False, interval: float = 0, clients: int | None = None
) -> Iterator[str]:
    """Send these bytes to each client, and with `is_endless` repeat the last of them for ever, each after `interval`.

    After `clients` of them, it closes every connection at once.
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
            nonlocal pieces, clients
            try:
                connection.recv(65_536)
                for piece in pieces:
                    connection.sendall(piece)
                while is_endless and not stopped.wait(interval):
                    connection.sendall(pieces[-1])
                if clients is not None:
                    clients -= 1
                    pieces = pieces if clients > 0 else ()
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)
