"""Connections for `requests` with a deadline for the whole call, which record whether anything was sent.

The timeouts of requests restart with each read, so a peer that sends single bytes could occupy a thread for ever. Its
errors do not reveal whether sending had begun. This decides between "certainly not done" and "unknown".
"""

import http.client
import io
import logging
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
"""Maximum responses of class 1xx that are skipped before the final one."""

# Its warning of an invalid header has the URL, which can name a person, and the bytes of the response.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

_Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class CallDeadline:
    """One HTTP call: its deadlines for connecting and in total, and whether sending has begun.

    `sent` is None until the adapter of this module receives the request; from then on it is whether a byte may have
    been sent.
    """

    def __init__(self, *, connect_timeout: float, read_timeout: float) -> None:
        started = time.monotonic()
        self._connect_by = started + connect_timeout
        self._end_by = self._connect_by + read_timeout
        self._read_timeout = read_timeout
        self.sent: bool | None = None

    def connect_seconds_left(self) -> float:
        """Return the seconds left for name look-up, TCP and TLS together. Raises TimeoutError if none are left."""
        return _compute_seconds_until(self._connect_by)

    def compute_seconds_left(self) -> float:
        """Return the seconds that the next read or write may take. Raises TimeoutError if the deadline has passed."""
        return min(self._read_timeout, _compute_seconds_until(self._end_by))


def _compute_seconds_until(moment: float) -> float:
    seconds = moment - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline of the call has passed")
    return seconds


# A context variable, because requests and urllib3 pass no object of ours to the connection.
_current_call: ContextVar[CallDeadline] = ContextVar("_current_call")


@contextmanager
def apply_deadline(call: CallDeadline) -> Iterator[None]:
    """Apply the deadline of a call to the request inside, including the reading of its response."""
    token = _current_call.set(call)
    try:
        yield
    finally:
        _current_call.reset(token)


def _set_timeout(sock: socket.socket, seconds: float) -> None:
    # Skip redundant calls: each releases the GIL once more, and with a slow Open-E many threads compete for it.
    if sock.gettimeout() != seconds:
        sock.settimeout(seconds)


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, with the remaining time of the call as the timeout of each read."""

    def __init__(self, sock: socket.socket, call: CallDeadline) -> None:
        self._socket = sock
        self._call = call
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        _set_timeout(self._socket, self._call.compute_seconds_left())
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
        self.fp = io.BufferedReader(_DeadlineReader(sock, _current_call.get()))

    def _read_status(self) -> tuple[str, int, str]:
        """Return the status line of the final response. http.client skips no interim responses except 100."""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed omits it.
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:  # noqa: PLR2004  # The class of interim responses.
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim responses")


class _WatchedConnection(HTTPConnection):
    response_class = _Response
    _has_body = False
    _is_in_head = False
    _head = b""

    def _new_conn(self) -> socket.socket:
        call = _current_call.get()
        try:
            addresses = _resolve_host(self._dns_host, self.port, call.connect_seconds_left())
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
                # Reserve time for the other addresses in case the first one is unreachable.
                sock.settimeout(call.connect_seconds_left() / (len(addresses) - place))
                sock.connect(address)
                # The TLS handshake shares the same deadline.
                sock.settimeout(call.connect_seconds_left())
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from failure
        raise NewConnectionError(self, f"no connection: {failure}") from failure

    def request(self, method: str, url: str, body: Any = None, *arguments: Any, **options: Any) -> None:
        self._has_body = body is not None
        super().request(method, url, body, *arguments, **options)

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        self._is_in_head = self._has_body
        super().endheaders(*arguments, **options)
        self._is_in_head = False

    def send(self, data: Any) -> None:
        if self._is_in_head:
            # Send the head together with the first piece of the body: one packet instead of two.
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, b""
        call = _current_call.get()
        if self.sock is None:
            self.connect()
        _set_timeout(self.sock, call.compute_seconds_left())
        call.sent = True
        super().send(data)


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """A watched connection over TLS. Methods of `_WatchedConnection` precede those of urllib3."""


def _resolve_host(host: str, port: int, seconds: float) -> _Addresses:
    """Return the addresses of a host. On a timeout the look-up thread is abandoned: resolvers have no deadline."""
    host = host.strip("[]")
    with suppress(OSError, UnicodeError):
        # An IP address needs no resolver, and therefore no thread.
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
    """Return the addresses of a name. The hosts file has names without a final dot, so retry without it."""
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
    """A transport adapter whose connections obey the `apply_deadline` around the request."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:  # noqa: FBT001, FBT002 (requests' signature)
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Return the pool for a request. Sending calls this method first, so from here on `sent` is known."""
        _current_call.get().sent = False
        return super().get_connection_with_tls_context(*arguments, **options)
