"""Run other processes: started with what they need, always ended, with their output shown when a test fails."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.programs import forget_ports, register_address
from tests.warm_programs import WarmProgram, is_warm, run_warm

REPOSITORY = Path(__file__).parents[1]
SECONDS = 60
"""Maximum seconds of any wait before the test fails."""


def build_environment(**settings: object) -> dict[str, str]:
    """Return this environment without settings of the service except these, given in lower case."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUDKAVLE_")}
    variables = {f"BUDKAVLE_{name.upper()}": str(value) for name, value in settings.items()}
    return {**inherited, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **variables}


class Process:
    """A running program; `fds` stay open in it. `wait_for` reads its standard output line by line."""

    def __init__(
        self, arguments: list[str], env: dict[str, str], folder: Path | None = None, fds: tuple[int, ...] = ()
    ) -> None:
        from tests.response_recording import record_clients

        record_clients()
        self._process = _start(tuple(arguments), env, folder, fds)
        self.name = " ".join(arguments)
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_err, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.out.append(line)
            register_address(line, self)
            self._news.put(line)
        self._news.put(None)

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        self.err.extend(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, beginning: str) -> str:
        """Return the rest of the next line of standard output that begins with this text."""
        while (line := self._news.get(timeout=SECONDS)) is not None:
            if line.startswith(beginning):
                return line.removeprefix(beginning).strip()
        raise AssertionError(f"{self.name} ended before it wrote {beginning!r}")

    def write_line(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait for its end, read all output, and return the exit code.

        If it does not end, it and its children end with a traceback on standard error.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            process = psutil.Process(self.pid)
            for each in (process, *process.children(recursive=True)):
                # The end of one may have ended others.
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGABRT)
            raise
        for reader in self._readers:
            reader.join(SECONDS)
        return code

    def end(self) -> None:
        """Kill the rest of it."""
        if self.is_running:
            self._process.kill()
        self.wait()
        forget_ports(self)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def show(self) -> None:
        """Print its output; pytest shows it when a test fails."""
        sys.stdout.write(
            f"--- {self.name}: standard output\n{''.join(self.out)}--- standard error\n{''.join(self.err)}---\n"
        )


def _start(
    arguments: tuple[str, ...], env: dict[str, str], folder: Path | None, fds: tuple[int, ...]
) -> subprocess.Popen[str] | WarmProgram:
    if is_warm(arguments, env) and not fds:
        return WarmProgram(arguments, env, folder)
    return subprocess.Popen(
        arguments,
        env=env,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        pass_fds=fds,
    )


@contextmanager
def running(*arguments: str, folder: Path | None = None, **settings: object) -> Iterator[Process]:
    """Run a program until the end of the context."""
    process = Process(list(arguments), build_environment(**settings), folder)
    try:
        yield process
    finally:
        process.end()
        process.show()


def budkavle(*arguments: str) -> tuple[str, ...]:
    """Return the command line of the repository, run by this Python."""
    return (sys.executable, "-m", "budkavle", *arguments)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def run_program(*arguments: str, folder: Path | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return the result; its output is shown when the test fails."""
    env = build_environment(**settings)
    run = run_warm if is_warm(arguments, env) else _run_cold
    result = run(arguments, env, folder, SECONDS)
    head = f"--- {' '.join(arguments)}: exit code {result.returncode}"
    sys.stdout.write(f"{head}\n{result.stdout}--- standard error\n{result.stderr}---\n")
    return result


def _run_cold(
    arguments: tuple[str, ...], env: dict[str, str], folder: Path | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
