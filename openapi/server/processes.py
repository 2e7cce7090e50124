"""Run a program as several processes that share a listening socket.

The first process only supervises: it forwards signals, starts a process again that ended by itself, and ends with the
others. If it is killed, the others notice and stop.
"""

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""With this variable `prometheus_client` keeps its values in files, and any process can return the sum of all."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

RESTART_SECONDS = (0.1, 10.0)
"""The first and the longest pause before a process that ended early is started again. The pause doubles."""

EARLY_SECONDS = 10.0
"""A process that lived longer is started again after the first pause."""

log = structlog.get_logger("budkavle.processes")


@dataclass(slots=True)
class _Child:
    pid: int
    started: float
    lifeline: int
    """The writing end of a pipe, which the process sees closed if the supervisor ends."""


class Processes:
    """The supervisor of `count` processes."""

    def __init__(self, count: int) -> None:
        """Prepare shared metrics, which only works before `prometheus_client` is imported."""
        folder = os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix="budkavle-metrics-")
        atexit.register(_remove, folder, os.getpid())
        self.count = count
        self._stopping: Callable[[], None] = lambda: None
        self._children: dict[int, _Child] = {}
        self._is_stopping = False
        self._pause = RESTART_SECONDS[0]

    def fork(self, started: Callable[[], None], stopping: Callable[[], None]) -> "Member":
        """Return in each of the processes. The supervisor never returns: it exits with their first error.

        Call before the program has threads or an event loop. `started` is called once all of them have started, and
        `stopping` when a signal ends them: the supervisor must not keep their socket open then.
        """
        self._stopping = stopping
        for number in FORWARDED:
            signal.signal(number, self._forward)
        ready = []
        for _ in range(self.count):
            member, has_started = self._start()
            if member is not None:
                return member
            ready.append(has_started)
        # Read all of them: each has a descriptor to close.
        if False not in [self._is_ready(descriptor) for descriptor in ready]:
            started()
        else:
            self._stop(signal.SIGTERM)
        return self._supervise()

    def _start(self) -> "tuple[Member | None, int]":
        """Return the member in the new process, and None with a descriptor to wait for in the supervisor."""
        lifeline, keep = os.pipe()
        has_started, report = os.pipe()
        # Otherwise a signal between the fork and the next lines would reach the handler of the supervisor.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        pid = os.fork()
        if pid == 0:
            for child in self._children.values():
                os.close(child.lifeline)
            os.close(keep)
            os.close(has_started)
            # A signal of the terminal reaches the supervisor alone, which forwards it.
            os.setpgid(0, 0)
            for number in FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            return Member(lifeline, report), -1
        os.close(lifeline)
        os.close(report)
        self._children[pid] = _Child(pid, time.monotonic(), keep)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        return None, has_started

    def _is_ready(self, descriptor: int) -> bool:
        """Wait until a process has started; return False if it ended before."""
        with os.fdopen(descriptor, "rb") as has_started:
            return has_started.read(1) != b""

    def _supervise(self) -> "Member":
        """Return in a process that replaces another one."""
        code = 0
        while self._children:
            pid, status = os.wait()
            child = self._children.pop(pid)
            os.close(child.lifeline)
            ended = os.waitstatus_to_exitcode(status)
            _forget_metrics(pid)
            if not self._is_stopping:
                log.error("process_ended", pid=pid, code=ended)
                self._rest(time.monotonic() - child.started)
            if self._is_stopping:
                # A process that has not started yet ends by the signal itself.
                code = code or (0 if -ended in FORWARDED else abs(ended))
                continue
            member, has_started = self._start()
            if member is not None:
                return member
            os.close(has_started)
        sys.exit(code)

    def _rest(self, lived: float) -> None:
        first, longest = RESTART_SECONDS
        self._pause = first if lived > EARLY_SECONDS else min(2 * self._pause, longest)
        ends = time.monotonic() + self._pause
        while not self._is_stopping and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _forward(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._signal(number)
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._stopping()
        self._signal(number)

    def _signal(self, number: int) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Member:
    """One of the processes, and its work next to the servers: it stops when the supervisor has ended."""

    def __init__(self, lifeline: int, report: int) -> None:
        self._lifeline = lifeline
        self._report = report
        self._stopped = asyncio.Event()

    def report_start(self) -> None:
        """Report to the supervisor that this process has started."""
        # The supervisor does not read the report of a process that replaces another one.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._report, b"1")
        os.close(self._report)

    async def run(self) -> None:
        """Watch the supervisor until `stop`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._lifeline, self._end)
        await self._stopped.wait()
        loop.remove_reader(self._lifeline)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        os.kill(os.getpid(), signal.SIGTERM)


def _remove(folder: str, owner: int) -> None:
    """Remove the folder in its owner only: forked processes inherit this exit handler."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_metrics(pid: int) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # It takes an int.
