"""Runs servers in one event loop until a signal ends them cleanly."""

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
import uvloop

from domain.errors import BudkavleError
from openapi.server.connections import raise_descriptor_limit


class CannotListen(BudkavleError):
    """An address cannot be listened on."""


TLS_HANDSHAKE_SECONDS = 15
TLS_END_SECONDS = 3
"""How long a peer may take to begin and to end TLS: one that says nothing must not hold up a stop."""


class QuietServer(uvicorn.Server):
    """A server whose signals are handled for all servers of the process together."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # uvicorn declares a generator; any context manager does.
        return contextlib.nullcontext()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one, and the host `::` takes IPv4 too. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=False, dualstack_ipv6=is_dual)
    except OSError as exc:
        raise CannotListen(f"cannot listen on {host} port {port}: {os.strerror(exc.errno or 0)}") from exc


def address_of(listener: socket.socket, *, tls: bool = False) -> str:
    """Where a listener can be called, as a URL."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Work(Protocol):
    """What a process does beside serving."""

    async def run(self) -> None:
        """Works until it is stopped."""

    def stop(self) -> None:
        """Lets what is under way end, and begins no more; the second time even that is given up."""


class Drain:
    """The time between the signal to stop and the end of the listening socket, in which readiness is `DOWN`.

    A load balancer needs that time to notice: a socket that closes at once refuses the calls that it still sends.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._is_active = False

    def begin(self) -> None:
        """Let readiness be `DOWN`, and each response end its connection."""
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
    """Serve and work until SIGINT or SIGTERM; then drain, answer what runs and end. A second signal skips the drain.

    SIGHUP calls `reload`. While `is_busy` returns true, a full collection of garbage would stop all callers for long.
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
    # Without a handler it would end the process.
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
    """Reload nothing."""


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


SWITCH_SECONDS = 0.001
"""How long a thread that computes may keep the interpreter while the event loop waits for it. A response waits several
times: with Python's default of 5 ms, others waited up to 50 ms for a small message during a large sync."""

COLLECTION_SECONDS = 30.0
"""Between two full collections. One that waits for large bodies to end is made after ten times as long anyway."""

_NEVER = 1_000_000


def _settle_memory() -> None:
    """Take all that was made until now out of the collector's rounds: it stays, and each full round would walk it.

    Such a round stopped all callers for 100 to 250 ms. Full rounds are left to `FullCollections` from now on.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    sys.setswitchinterval(SWITCH_SECONDS)


class FullCollections:
    """Runs the full collections of Python's garbage collector, at moments without large work.

    By itself Python runs them while many objects are made, which is in the middle of a large sync: each walks all of
    its objects and stops all callers for up to 300 ms. Without large work a round takes a few milliseconds.
    """

    def __init__(self, is_busy: Callable[[], bool], seconds: float = COLLECTION_SECONDS) -> None:
        self._is_busy = is_busy
        self._seconds = seconds
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Collect until it is stopped."""
        skipped = 0
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._seconds)
            if self._is_busy() and skipped < _MOST_SKIPPED:
                skipped += 1
                continue
            skipped = 0
            gc.collect()

    def stop(self) -> None:
        """End it."""
        self._stopped.set()


_MOST_SKIPPED = 10


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine as the whole of this process."""
    raise_descriptor_limit()
    run_loop(main)
    if any(thread is not threading.current_thread() and not thread.daemon for thread in threading.enumerate()):
        # A call to Open-E outlived the shutdown timeout. Its message is on record as being sent; Python would wait.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _Loop(uvloop.Loop):
    """A loop that gives TLS the limits for which uvicorn has no setting."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.AbstractServer:  # type: ignore[override]  # All arguments go on as they come.
        if kwargs.get("ssl") is not None:
            kwargs |= {"ssl_handshake_timeout": TLS_HANDSHAKE_SECONDS, "ssl_shutdown_timeout": TLS_END_SECONDS}
        return await super().create_server(*args, **kwargs)
