"""Run programs in processes that start fast: each is forked from one that has already imported the service.

The programs are `budkavle`, and those of tests that kill a part of it at each line.

A test that needs a process of its own from the first instruction on, such as one that loads a library before Python or
measures the start, uses `subprocess`.
"""

import atexit
import faulthandler
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

context = multiprocessing.get_context("forkserver")
# With them, `serve` and `worker` import hardly anything more, and compile no contract.
context.set_forkserver_preload(
    [
        "anyio._backends._asyncio",
        "budkavle.audit_pruning",
        "budkavle.commands.cli",
        "budkavle.commands.run",
        "budkavle.delivering",
        "budkavle.operator_events",
        "budkavle.receipt_sealing",
        "budkavle.service",
        "mock_open_e.server.application",
        "openapi.observation.logs",
        "persistence.opening",
        "persistence.postgresql.database",
        "persistence.schema",
        "persistence.sqlite.database",
        "tests.prepared_service",
        "uvloop",
    ]
)
MODULE = (sys.executable, "-m")
PROGRAM = (*MODULE, "budkavle")


def is_warm(arguments: tuple[str, ...], env: dict[str, str]) -> bool:
    """Return whether a command can run in such a process."""
    is_known = arguments[: len(PROGRAM)] == PROGRAM or (
        arguments[: len(MODULE)] == MODULE and arguments[len(MODULE)].rpartition(".")[2].startswith("kill_")
    )
    return is_known and "LD_PRELOAD" not in env


class ForkedProgram:
    """A running program with given streams, and the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str], folder: Path, streams: Sequence[int]) -> None:
        """Close the streams, which are standard input, output and error of the program."""
        ends = [Connection(fd, readable=number == 0, writable=number > 0) for number, fd in enumerate(streams)]
        self._process = context.Process(target=_run, args=(list(arguments), env, str(folder), ends))
        self._process.start()
        for end in ends:
            end.close()
        self.args = arguments
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Return the exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """End it with SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with -9."""
        self.send_signal(signal.SIGKILL)


class WarmProgram(ForkedProgram):
    """A running program whose streams are pipes."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str], folder: Path | None) -> None:
        (their_in, our_in), (our_out, their_out), (our_err, their_err) = os.pipe(), os.pipe(), os.pipe()
        super().__init__(arguments, env, folder or Path.cwd(), [their_in, their_out, their_err])
        self.stdin: TextIO = os.fdopen(our_in, "w", encoding="utf-8")
        self.stdout: TextIO = os.fdopen(our_out, encoding="utf-8")
        self.stderr: TextIO = os.fdopen(our_err, encoding="utf-8")


def run_warm(
    arguments: tuple[str, ...], env: dict[str, str], folder: Path | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end without input, as `subprocess.run` does with `capture_output`."""
    program = WarmProgram(arguments, env, folder)
    program.stdin.close()
    texts: dict[str, str] = {}
    readers = [
        threading.Thread(target=lambda name=name: texts.update({name: getattr(program, name).read()}), daemon=True)
        for name in ("stdout", "stderr")
    ]
    for reader in readers:
        reader.start()
    try:
        code = program.wait(seconds)
        for reader in readers:
            reader.join(seconds)
    finally:
        program.kill()
        program.stdout.close()
        program.stderr.close()
    return subprocess.CompletedProcess(arguments, code, texts["stdout"], texts["stderr"])


def _run(arguments: list[str], env: dict[str, str], folder: str, streams: list[Connection]) -> None:
    run_in_place(
        lambda: runpy.run_module(arguments[len(MODULE)], run_name="__main__", alter_sys=True),
        arguments[len(MODULE) :],
        env,
        folder,
        streams,
    )


def run_in_place(
    program: Callable[[], object], arguments: list[str], env: dict[str, str], folder: str, streams: list[Connection]
) -> None:
    """Run a program in this forked process. Close the streams, which are its standard input, output and error."""
    os.setsid()
    # The program need not collect what was imported before.
    gc.freeze()
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(env)
    faulthandler.enable()
    time.tzset()
    os.chdir(folder)
    sys.argv = arguments
    try:
        program()
    finally:
        # `multiprocessing` ends a process without them.
        atexit._run_exitfuncs()
