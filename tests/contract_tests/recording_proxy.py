"""Run a server that records its traffic, so that two runs can be compared."""

import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class RecordingProxy:
    """The recorded traffic in chunks: connection number, direction and bytes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.pieces: list[tuple[int, bool, bytes]] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def requests(self) -> list[bytes]:
        """Return the requests of ordinary clients in order, without everything that no seed determines.

        Numbers in the order of appearance replace the ids that the server generated and those derived from them.
        The address, cursors, and the random names and boundaries of clients are removed.
        """
        own, made = set[bytes](), dict[bytes, bytes]()
        ends = dict[tuple[int, bool], bytes]()
        pieces = self._sort_by_contract()
        for number, is_sent, piece in pieces:
            # An id may be split into two chunks.
            data = ends.get((number, is_sent), b"") + piece
            ends[number, is_sent] = data[-35:]
            for id_ in UUID.findall(data):
                if is_sent:
                    own.add(id_)
                elif id_ not in own and id_ not in made:
                    name = b"%d" % (len(made) // 4)
                    followed = str(uuid5(NAMESPACE_OID, id_.decode())).encode()
                    made |= {id_: b"<%s>" % name, followed: b"<of %s>" % name}
                    # Some checks send an id in upper case.
                    made |= {id_.upper(): b"<GREAT %s>" % name, followed.upper(): b"<OF %s>" % name}
        streams = dict[int, bytes]()
        for number, is_sent, piece in pieces:
            if is_sent:
                # Concurrent requests are distinguished by their connections.
                streams[number] = streams.get(number, b"") + piece
        sent = b"\n".join(streams.values())
        sent = UUID.sub(lambda found: made.get(found[0], found[0]), sent)
        sent = re.sub(rb"(?i)(Host|X-Schemathesis-TestCaseId|Client-Cert): [^\r]*", rb"\1", sent)
        sent = re.sub(rb"after=[0-9a-f]{46}\b", b"after=", sent)
        sent = re.sub(rb"(boundary=|--)[0-9a-f]{32}", rb"\1", sent)
        return [request.strip() for request in re.split(rb"(?<![A-Z])(?=[A-Z]{3,} [^ ]+ HTTP/1\.1\r\nHost\r\n)", sent)]

    def _sort_by_contract(self) -> list[tuple[int, bool, bytes]]:
        """Return the pieces of connections to web messages first: suites of the two contracts run concurrently."""
        begins = dict[int, bytes]()
        for number, is_sent, piece in self.pieces:
            if is_sent:
                begins.setdefault(number, piece)
        return sorted(self.pieces, key=lambda piece: b" /webmessages" not in begins.get(piece[0], b"")[:20])

    def serve(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._forward, args=(number, connection), daemon=True)
            thread.start()
            self._threads.append(thread)
            number += 1

    def close(self) -> None:
        # Closing the socket alone does not wake a thread that accepts connections.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, number: int, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._server) as server:
            for side in (caller, server):
                # Send each chunk immediately.
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            others = {caller: server, server: caller}
            while others:
                for side in select.select(list(others), [], [])[0]:
                    try:
                        piece = side.recv(65536)
                    except ConnectionError:
                        piece = b""
                    with self._lock:
                        self.pieces.append((number, side is caller, piece))
                    with suppress(OSError):
                        if piece:
                            others.get(side, server if side is caller else caller).sendall(piece)
                        else:
                            (server if side is caller else caller).shutdown(socket.SHUT_WR)
                    if not piece:
                        if side is server:
                            return
                        del others[side]


@contextmanager
def running_proxy(url: str) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(url)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
