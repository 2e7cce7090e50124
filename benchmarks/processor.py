"""Processor time of programs, and of everything else that the machine does meanwhile."""

import contextlib
import os
import time
from typing import Self

import psutil


def read_processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of its children, including those that have ended."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class OtherWork:
    """Measures the share of all cores that processes other than this benchmark and its database use."""

    def __init__(self, database_pid: int | None) -> None:
        self._pids = [os.getpid(), *([database_pid] if database_pid else [])]

    def __enter__(self) -> Self:
        self._begun, self._used = time.monotonic(), self._read_other_seconds()
        return self

    def __exit__(self, *_error: object) -> None:
        elapsed = (time.monotonic() - self._begun) * (os.cpu_count() or 1)
        self.share = max(0.0, self._read_other_seconds() - self._used) / elapsed

    def _read_other_seconds(self) -> float:
        times = psutil.cpu_times()
        busy = times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "steal", 0.0)
        return float(busy) - sum(read_processor_seconds(pid) for pid in self._pids)
