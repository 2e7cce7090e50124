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
    number: int
    started: float
    lifeline: int
    """The writing end of a pipe, which the process sees closed if the supervisor ends."""


class Processes:
    """The supervisor of `count` processes."""

    def __init__(self, count: int) -> None:
        """Prepare shared metrics, which only works before `prometheus_client` is imported."""
        self._is_stopping = False
        # Until the fork, signals are only noted: the default ones would end the process without its exit handlers, and
        # an exception could be raised where Python ignores it. There is nothing to reload yet.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._note_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        folder = os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix="budkavle-metrics-")
        atexit.register(_remove, folder, os.getpid())
        self.count = count
        self._number = 0
        """The number of this process, which one that replaces another takes over. The supervisor has 0."""
        _use_files_of(lambda: self._number)
        self._stopping: Callable[[], None] = lambda: None
        self._children: dict[int, _Child] = {}
        self._pause = RESTART_SECONDS[0]

    def fork(self, started: Callable[[], None], stopping: Callable[[], None]) -> "Member":
        """Return in each of the processes. The supervisor never returns: it exits with their first error.

        Call before the program has threads or an event loop. `started` is called once all of them have started, and
        `stopping` when a signal ends them: the supervisor must not keep their socket open then.
        """
        self._stopping = stopping
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
        # Read all of them: each has a descriptor to close.
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
        # Otherwise a signal between the fork and the next lines would reach the handler of the supervisor.
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
            # A signal of the terminal reaches the supervisor alone, which forwards it.
            os.setpgid(0, 0)
            for each in FORWARDED:
                signal.signal(each, signal.SIG_DFL)
            # There is nothing to reload before the start, and by default this signal would end the process.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            return Member(lifeline, report), -1
        os.close(lifeline)
        os.close(report)
        self._children[pid] = _Child(number, time.monotonic(), keep)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        if self._is_stopping:
            # The signal came before this process was one of those that receive it.
            os.kill(pid, signal.SIGTERM)
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
            child = self._children.pop(pid, None)
            if child is None:
                # As the first process of a container it inherits those that lost their parents.
                continue
            os.close(child.lifeline)
            ended = os.waitstatus_to_exitcode(status)
            _forget_metrics(child.number)
            if not self._is_stopping:
                log.error("process_ended", pid=pid, code=ended)
                self._rest(time.monotonic() - child.started)
            if self._is_stopping:
                # A process that has not started yet ends by the signal itself.
                code = code or (0 if -ended in FORWARDED else abs(ended))
                continue
            member = self._start_again(child.number)
            if member is not None:
                return member
        sys.exit(code)

    def _start_again(self, number: int) -> "Member | None":
        """Return the member in a process that replaces another one, and None in the supervisor."""
        while not self._is_stopping:
            try:
                member, has_started = self._start(number)
            except OSError as exc:
                log.warning("process_not_started", reason=exc.strerror)
                self._rest(0)
                continue
            if member is None:
                os.close(has_started)
            return member
        return None

    def _rest(self, lived: float) -> None:
        first, longest = RESTART_SECONDS
        self._pause = first if lived > EARLY_SECONDS else min(2 * self._pause, longest)
        ends = time.monotonic() + self._pause
        while not self._is_stopping and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _note_stop(self, _number: int, _frame: object) -> None:
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
    """Remove the folder in its owner, or in a process that survived it: forked processes inherit this exit handler."""
    if os.getpid() == owner or os.getppid() != owner:
        shutil.rmtree(folder, ignore_errors=True)


def _use_files_of(number: Callable[[], int]) -> None:
    """Name the files of metrics by the number of a process.

    By default they have the id of the process, so that each process that is started again would add files for ever.
    """
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(number)  # type: ignore[no-untyped-call]  # It takes such a function.


def _forget_metrics(number: int) -> None:
    """Remove the gauges of a process that ended."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(number)  # type: ignore[no-untyped-call]  # It takes any identifier.
