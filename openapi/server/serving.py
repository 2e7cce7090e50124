"""Run servers in one event loop until a signal shuts them down gracefully."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import uvicorn

from domain.errors import BudkavleError
from openapi.bodies.budget import trim_memory
from openapi.server.connections import raise_descriptor_limit

try:
    from uvloop import Loop as _BaseLoop
except ModuleNotFoundError:
    # uvloop does not exist for every platform.
    from asyncio import SelectorEventLoop as _BaseLoop  # type: ignore[assignment]  # Another class with the same methods.


class CannotListen(BudkavleError):
    """An address cannot be listened on."""


BACKLOG = 2048
"""Maximum connections that the system accepts before the event loop does."""

TLS_HANDSHAKE_SECONDS = 15
TLS_END_SECONDS = 3
"""Timeouts of TLS handshakes and shutdowns: a silent peer must not delay a stop."""


class QuietServer(uvicorn.Server):
    """A server without signal handlers: they are shared by all servers of the process."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # uvicorn declares a generator; any context manager does.
        return contextlib.nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listening sockets, but serve the connections that the system has accepted already.

        Otherwise the system resets them, and a proxy that has sent a request answers 502. TLS clients have sent none.
        """
        queues = [] if self.config.is_ssl else [each.dup() for each in sockets or ()]
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        # uvloop closes its sockets in the next round of the loop. The system accepts until the last one is closed.
        for _ in range(2):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        for connection in [found for queue in queues for found in _empty_queue(queue)]:
            await loop.connect_accepted_socket(self._create_protocol, connection)
        await super().shutdown(sockets)

    def _create_protocol(self) -> asyncio.Protocol:
        create = self.config.http_protocol_class
        return create(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]  # As uvicorn does.


def _empty_queue(listener: socket.socket) -> list[socket.socket]:
    """Return all connections that wait in the queue of a listening socket, and close it."""
    found: list[socket.socket] = []
    with listener, contextlib.suppress(OSError):
        listener.setblocking(False)
        while len(found) < BACKLOG:
            connection, _ = listener.accept()
            connection.setblocking(False)
            found.append(connection)
    return found


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Port 0 selects a free one, and host `::` includes IPv4. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, reuse_port=False, dualstack_ipv6=is_dual
        )
    except OSError as exc:
        raise CannotListen(f"cannot listen on {host} port {port}: {os.strerror(exc.errno or 0)}") from exc


def build_address(listener: socket.socket, *, tls: bool = False) -> str:
    """Return the URL of a listener."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Work(Protocol):
    """Background work of a process next to its servers."""

    async def run(self) -> None:
        """Work until it is stopped."""

    def stop(self) -> None:
        """Finish the running work and begin none. A second call abandons the running work too."""


class Drain:
    """The time between the stop signal and closing the listening socket, in which readiness is `DOWN`.

    A load balancer needs this time to detect the stop. If the socket closed at once, requests would be rejected.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._is_active = False

    def begin(self) -> None:
        """Set readiness to `DOWN`, and let each response close its connection."""
        self._is_active = True

    def is_active(self) -> bool:
        """Return whether the process is about to stop."""
        return self._is_active


async def run_servers(
    servers: list[tuple[uvicorn.Server, socket.socket]],
    started: Callable[[], None],
    *works: Work,
    drain: Drain | None = None,
    reload: Callable[[], None] | None = None,
    is_busy: Callable[[], bool] = lambda: False,
) -> None:
    """Run servers and background work until SIGINT or SIGTERM, then drain, finish running requests and stop.

    A second signal skips the drain. SIGHUP calls `reload`. While `is_busy` returns true, a full garbage collection
    would block all callers for long.
    """
    works = (*works, FullCollections(is_busy))

    def stop() -> None:
        if drain is not None and drain.seconds and not drain.is_active():
            drain.begin()
            loop.call_later(drain.seconds, end)
        else:
            end()

    def end() -> None:
        if drain is not None:
            drain.begin()
        for server, _ in servers:
            server.force_exit = server.should_exit
            server.should_exit = True
        for work in works:
            work.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    # Without a handler the signal would kill the process.
    loop.add_signal_handler(signal.SIGHUP, reload or _do_nothing)
    tasks = [asyncio.create_task(server.serve([listener])) for server, listener in servers]
    while not all(server.started for server, _ in servers) and not any(task.done() for task in tasks):  # noqa: ASYNC110  # uvicorn has no event for it.
        await asyncio.sleep(0.01)
    if not any(task.done() for task in tasks):
        _settle_memory()
        started()
        tasks += [asyncio.create_task(work.run()) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        end()


def _do_nothing() -> None:
    """Do nothing."""


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, or on the loop of Python where uvloop does not exist."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


SWITCH_SECONDS = 0.001
"""Seconds for which a thread may hold the GIL while the event loop waits for it.

A response needs the GIL several times: with Python's default of 5 ms, a small message took up to 50 ms during a large
sync.
"""

COLLECTION_SECONDS = 30.0
"""Seconds between full garbage collections. Large bodies postpone a collection, but at most ten times."""

_NEVER = 1_000_000


def _settle_memory() -> None:
    """Exclude all objects created so far from garbage collection, and leave full collections to `FullCollections`.

    These objects are permanent. With them, a full collection blocked all callers for 100 to 250 ms.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    sys.setswitchinterval(SWITCH_SECONDS)


class FullCollections:
    """Runs the full collections of Python's garbage collector while there is no large work.

    Python itself runs them while many objects are created, during a large sync: each visits all objects and blocks all
    callers for up to 300 ms. Without large work a collection takes a few milliseconds. Afterwards the memory that
    threads have freed returns to the operating system; otherwise four syncs of 50,000 entries leave 54 MB.
    """

    def __init__(self, is_busy: Callable[[], bool], seconds: float = COLLECTION_SECONDS) -> None:
        self._is_busy = is_busy
        self._seconds = seconds
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Run collections until `stop`."""
        skipped = 0
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._seconds)
            if self._is_busy() and skipped < _MOST_SKIPPED:
                skipped += 1
                continue
            skipped = 0
            gc.collect()
            await asyncio.to_thread(trim_memory)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()


_MOST_SKIPPED = 10


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, and then end this process."""
    raise_descriptor_limit()
    run_loop(main)
    if any(thread is not threading.current_thread() and not thread.daemon for thread in threading.enumerate()):
        # A call to Open-E exceeded the shutdown timeout, and Python would wait for its thread. Its message stays in
        # the state `sending`.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Loop(_BaseLoop):
    """An event loop with TLS timeouts, for which uvicorn has no setting."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.AbstractServer:  # type: ignore[override]  # All arguments are passed on.
        if kwargs.get("ssl") is not None:
            kwargs |= {"ssl_handshake_timeout": TLS_HANDSHAKE_SECONDS, "ssl_shutdown_timeout": TLS_END_SECONDS}
        return await super().create_server(*args, **kwargs)
