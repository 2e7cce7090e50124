"""Run a program as several processes that share a listening socket.

The first process only supervises: it forwards signals, restarts a process that ended by itself, and ends when all
others have ended. If it is killed, the others detect it and stop.
"""

import asyncio
import atexit
import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The folder in which `prometheus_client` stores its values, so that any process can return the sum of all."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

RESTART_SECONDS = (0.1, 10.0)
"""The first and the longest delay before a process that ended early is restarted. The delay doubles."""

EARLY_SECONDS = 10.0
"""A process that ran longer is restarted after the first delay."""

log = structlog.get_logger("budkavle.processes")


@dataclass(slots=True)
class _Child:
    number: int
    started: float
    lifeline: int
    """The writing end of a pipe. It is closed when the supervisor ends, which the process detects."""


class Supervisor:
    """The supervisor of `count` processes."""

    def __init__(self, count: int) -> None:
        """Prepare shared metrics, which only works before `prometheus_client` is imported."""
        self._is_stopping = False
        # Until the fork, signals are only recorded: the default handlers would end the process without its exit
        # handlers, and Python might ignore an exception. There is nothing to reload yet.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._record_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        folder = os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix="budkavle-metrics-")
        atexit.register(_remove, folder, os.getpid())
        self.count = count
        self._number = 0
        """The number of this process; 0 for the supervisor. A process that replaces another has the same number."""
        _name_metric_files(lambda: self._number)
        self._stopping: Callable[[], None] = lambda: None
        self._children: dict[int, _Child] = {}
        self._signals = _SignalPipe()
        self._delay = RESTART_SECONDS[0]

    def fork(self, started: Callable[[], None], stopping: Callable[[], None]) -> "Member":
        """Fork the processes and return in each. The supervisor never returns: it exits with their first error.

        Call before the program has threads or an event loop. `started` is called once all processes have started.
        `stopping` is called when a signal ends them: the supervisor must close their socket then.
        """
        self._stopping = stopping
        self._signals.open()
        for each in FORWARDED:
            signal.signal(each, self._forward)
        if self._is_stopping:
            sys.exit()
        ready = []
        for number in range(1, self.count + 1):
            member, has_started = self._start(number)
            if member is not None:
                return member
            ready.append(has_started)
        # Read all of them, because reading also closes the descriptor.
        if False not in [self._is_ready(descriptor) for descriptor in ready]:
            started()
        else:
            self._stop(signal.SIGTERM)
        return self._supervise()

    def _start(self, number: int) -> "tuple[Member | None, int]":
        """Return the member in the new process, and None with a descriptor to wait for in the supervisor.

        Raises `OSError` if the system has no process or descriptor left.
        """
        pipes: list[int] = []
        # Block signals: one between the fork and the next lines would run the handler of the supervisor.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            pid = os.fork()
        except OSError:
            for descriptor in pipes:
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            raise
        lifeline, keep, has_started, report = pipes
        if pid == 0:
            self._number = number
            for child in self._children.values():
                os.close(child.lifeline)
            os.close(keep)
            os.close(has_started)
            # The terminal then sends its signals only to the supervisor, which forwards them.
            os.setpgid(0, 0)
            for each in FORWARDED:
                signal.signal(each, signal.SIG_DFL)
            # There is nothing to reload before the start, and by default this signal would end the process.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._signals.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            return Member(lifeline, report), -1
        os.close(lifeline)
        os.close(report)
        self._children[pid] = _Child(number, time.monotonic(), keep)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        if self._is_stopping:
            # The signal arrived before this process was among those to which it is forwarded.
            os.kill(pid, signal.SIGTERM)
        return None, has_started

    def _is_ready(self, descriptor: int) -> bool:
        """Wait until a process has started; return False if it ended before."""
        with os.fdopen(descriptor, "rb") as has_started:
            self._signals.wait_for(descriptor)
            return has_started.read(1) != b""

    def _wait_for_end(self) -> tuple[int, int]:
        """Wait until a process ends; return its id and its status."""
        while (ended := os.waitpid(-1, os.WNOHANG))[0] == 0:
            self._signals.wait()
        return ended

    def _supervise(self) -> "Member":
        """Restart processes that end, until all have stopped. Returns only in a process that replaces another one."""
        code = 0
        while self._children:
            pid, status = self._wait_for_end()
            child = self._children.pop(pid, None)
            if child is None:
                # The first process of a container also inherits foreign processes whose parents have ended.
                continue
            os.close(child.lifeline)
            ended = os.waitstatus_to_exitcode(status)
            _remove_gauges(child.number)
            if not self._is_stopping:
                log.error("process_ended", pid=pid, code=ended)
                self._wait_before_restart(time.monotonic() - child.started)
            if self._is_stopping:
                # A process that has not started yet is killed by the signal.
                code = code or (0 if -ended in FORWARDED else abs(ended))
                continue
            member = self._restart(child.number)
            if member is not None:
                return member
        sys.exit(code)

    def _restart(self, number: int) -> "Member | None":
        """Return the member in a process that replaces another one, and None in the supervisor."""
        while not self._is_stopping:
            try:
                member, has_started = self._start(number)
            except OSError as exc:
                log.warning("process_not_started", reason=exc.strerror)
                self._wait_before_restart(0)
                continue
            if member is None:
                os.close(has_started)
            return member
        return None

    def _wait_before_restart(self, ran_seconds: float) -> None:
        first, longest = RESTART_SECONDS
        self._delay = first if ran_seconds > EARLY_SECONDS else min(2 * self._delay, longest)
        ends = time.monotonic() + self._delay
        while not self._is_stopping and (left := ends - time.monotonic()) > 0:
            self._signals.wait(left)

    def _record_stop(self, _number: int, _frame: object) -> None:
        self._is_stopping = True

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


class _SignalPipe:
    """A pipe into which each signal writes a byte, so that no wait misses one.

    A handler of Python runs between two of its instructions. A signal that arrives just before a system call such as
    `wait` does not interrupt it, and its handler would run only after that call.
    """

    def open(self) -> None:
        """Begin to record signals, also those of children that end."""
        self._end, self._beginning = os.pipe()
        os.set_blocking(self._end, False)
        os.set_blocking(self._beginning, False)
        signal.set_wakeup_fd(self._beginning, warn_on_full_buffer=False)
        # Without a handler, this signal writes no byte.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # A program inherits the signals that its parent blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def close(self) -> None:
        """Leave the pipe to the supervisor: a forked process has a copy of it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._end)
        os.close(self._beginning)

    def wait(self, seconds: float | None = None) -> None:
        """Wait for a signal, or return at once if one has arrived since the previous wait."""
        _wait_to_read([self._end], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._end, 4096)

    def wait_for(self, descriptor: int) -> None:
        """Wait until a descriptor can be read, and handle signals meanwhile."""
        while descriptor not in _wait_to_read([self._end, descriptor]):
            self.wait(0)


def _wait_to_read(descriptors: list[int], seconds: float | None = None) -> list[int]:
    """Wait until descriptors of any number can be read, and return these."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)]


class Member:
    """One of the processes. It runs next to the servers, and stops the process if the supervisor has ended."""

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
        loop.add_reader(self._lifeline, self._stop_orphan)
        await self._stopped.wait()
        loop.remove_reader(self._lifeline)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def _stop_orphan(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        os.kill(os.getpid(), signal.SIGTERM)


def _remove(folder: str, owner: int) -> None:
    """Remove the folder if this process is its owner, or outlived it. Forked processes inherit this exit handler."""
    if os.getpid() == owner or os.getppid() != owner:
        shutil.rmtree(folder, ignore_errors=True)


def _name_metric_files(number: Callable[[], int]) -> None:
    """Name the files of metrics by the number of a process.

    By default they are named by process id, so each restart would add files.
    """
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(number)  # type: ignore[no-untyped-call]  # It takes such a function.


def _remove_gauges(number: int) -> None:
    """Remove the gauges of a process that ended."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(number)  # type: ignore[no-untyped-call]  # It takes any identifier.
