"""Connections for `requests` that keep one deadline for a whole call and know whether anything was sent.

requests' own timeouts start anew with each read, so a peer that sends a byte now and then holds a thread for ever;
and its errors do not say whether the request had begun to leave, which decides between "certainly not done" and
"not known".
"""

import http.client
import io
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

MAX_INTERIM_RESPONSES = 100
"""Responses of the class 1xx that are skipped before the final one."""

_Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class Call:
    """One HTTP call: until when it may connect and last, and how far it came.

    `sent` is None until the adapter of this module has the request, then whether a byte of it may have left.
    """

    def __init__(self, *, connect_timeout: float, read_timeout: float) -> None:
        started = time.monotonic()
        self._connect_by = started + connect_timeout
        self._end_by = self._connect_by + read_timeout
        self._read_timeout = read_timeout
        self.sent: bool | None = None

    def time_to_connect(self) -> float:
        """Seconds left for name, connection and TLS handshake together; raises TimeoutError when there are none."""
        return _left(self._connect_by)

    def patience(self) -> float:
        """Seconds that the next read or write may take; raises TimeoutError when the call is over."""
        return min(self._read_timeout, _left(self._end_by))


def _left(moment: float) -> float:
    seconds = moment - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline of the call has passed")
    return seconds


# requests and urllib3 have no place for something of ours on the way from the call down to its connection.
_current_call: ContextVar[Call] = ContextVar("_current_call")


@contextmanager
def deadline(call: Call) -> Iterator[None]:
    """Holds the request that is made inside, and the reading of its answer, to the deadline of the call."""
    token = _current_call.set(call)
    try:
        yield
    finally:
        _current_call.reset(token)


def _wait_at_most(sock: socket.socket, seconds: float) -> None:
    # Setting the same again would be one more hand-over of the interpreter, which all threads of a slow Open-E want.
    if sock.gettimeout() != seconds:
        sock.settimeout(seconds)


class _Reader(io.RawIOBase):
    """Reads from a socket, each time with no more patience than the call has left."""

    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._socket = sock
        self._call = call
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        _wait_at_most(self._socket, self._call.patience())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, _current_call.get()))

    def _read_status(self) -> tuple[str, int, str]:
        """Return the status line of the final response; http.client itself skips no interim response but 100."""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed omits it.
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:  # noqa: PLR2004  # The class of interim responses.
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim responses")


class _WatchedConnection(HTTPConnection):
    response_class = _Response
    _is_in_head = False
    _head = b""

    def _new_conn(self) -> socket.socket:
        call = _current_call.get()
        try:
            addresses = _addresses(self._dns_host, self.port, call.time_to_connect())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the name was not found in time") from error
        failure: OSError = OSError("the name has no address")
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # A dead first address must leave time for the others.
                sock.settimeout(call.time_to_connect() / (len(addresses) - place))
                sock.connect(address)
                # The TLS handshake has what is left of the same time.
                sock.settimeout(call.time_to_connect())
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from failure
        raise NewConnectionError(self, f"no connection: {failure}") from failure

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        self._is_in_head = True
        super().endheaders(*arguments, **options)
        self._is_in_head = False

    def send(self, data: Any) -> None:
        if self._is_in_head:
            # It goes with the first piece of the body, which every call has: one packet instead of two.
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, b""
        call = _current_call.get()
        if self.sock is None:
            self.connect()
        _wait_at_most(self.sock, call.patience())
        call.sent = True
        super().send(data)


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same over TLS: the methods of a watched connection go before those of urllib3's."""


def _addresses(host: str, port: int, seconds: float) -> _Addresses:
    """The addresses of a host. Looked up in a thread that may be left behind, for no resolver takes a deadline."""
    host = host.strip("[]")
    with suppress(OSError, UnicodeError):
        # An address in figures needs no resolver, so no thread either.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    found: queue.SimpleQueue[_Addresses | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(_look_up(host, port))
        except OSError as error:
            found.put(error)
        except UnicodeError:
            found.put(socket.gaierror(socket.EAI_NONAME, "not a host name"))

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    try:
        answer = found.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("the name was not found in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _look_up(host: str, port: int) -> _Addresses:
    """Return the addresses of a name; one that ends with a dot may be in the hosts file, where it has none."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        if not host.endswith("."):
            raise
    return socket.getaddrinfo(host.rstrip("."), port, type=socket.SOCK_STREAM)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


class DeadlineAdapter(HTTPAdapter):
    """A transport adapter whose connections obey the `deadline` around the request."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:  # noqa: FBT001, FBT002 (requests' signature)
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """The pool for a request: the first thing that sending asks for, so from here on it is known to be ours."""
        _current_call.get().sent = False
        return super().get_connection_with_tls_context(*arguments, **options)
