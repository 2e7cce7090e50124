"""Run suites of the contract check in processes that start fast: each is forked from one that has imported the tools.

Importing pytest and Schemathesis takes most of the time of a small suite. The process that is forked has imported none
of our modules that read the environment or whose assertions pytest rewrites. A check that runs as a command starts its
suites as users do.
"""

import atexit
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn, Self

TOOLS = ("pytest", "_pytest.junitxml", "requests", "schemathesis.cli", "zoneinfo", "contract_tests.curl_bytes")
PYTHON = (sys.executable, "-P")
LARGEST_REQUEST = 100_000
_STARTING = threading.Lock()


class WarmSuite:
    """A running suite, with the part of the interface of `subprocess.Popen` that the contract check uses."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: IO[bytes]) -> None:
        assert tuple(command[:3]) == (*PYTHON, "-m")
        self.args = command
        self.returncode: int | None = None
        self._answers, theirs = socket.socketpair()
        request = json.dumps([command[3:], dict(env), str(Path.cwd())]).encode()
        # Lanes of a check start suites in several threads.
        with theirs, _STARTING:
            socket.send_fds(start_server(), [request], [log.fileno(), theirs.fileno()])
        self.pid = self._read_number()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(None)
        self._answers.close()

    def wait(self, timeout: float | None) -> int:
        """Return the exit code. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = self._read_number()
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        return self.returncode

    def terminate(self) -> None:
        """End it with SIGTERM."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with -9."""
        self._send_signal(signal.SIGKILL)

    def _send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def _read_number(self) -> int:
        answer = self._answers.recv(4)
        assert answer, "the server of suites has ended"
        return int.from_bytes(answer, signed=True)


@cache
def start_server() -> socket.socket:
    """Start the process that is forked, and return the socket for requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The suites of a check have this hash seed.
    variables = {**os.environ, "PYTHONHASHSEED": "0"}
    with theirs:
        server = subprocess.Popen(
            [*PYTHON, __file__, str(theirs.fileno())],
            env=variables,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        # It ends when no process can send requests any more.
        ours.close()
        server.wait(60)

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> None:
    """Import the tools, and fork a process for each request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in TOOLS:
        importlib.import_module(name)
    for plugin in sys.modules["_pytest.config"].default_plugins:
        importlib.import_module(f"_pytest.{plugin}")
    # The report of a failure looks at the files of all modules that it has not seen yet.
    inspect.getmodule(compile("", "unknown", "exec"))
    gc.freeze()
    while True:
        request, fds, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 2)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _run_and_report(json.loads(request), *fds)
        for fd in fds:
            os.close(fd)


def _run_and_report(request: list[Any], log: int, answers: int) -> NoReturn:
    """Run a suite in a child, and send its id and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        _run(*request, log)
    os.write(answers, pid.to_bytes(4))
    _, status = os.waitpid(pid, 0)
    os.write(answers, os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    os._exit(0)


def _run(arguments: list[str], env: dict[str, str], folder: str, log: int) -> NoReturn:
    os.setpgid(0, 0)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = arguments
    code: object = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  # It ends as a program does that raises an error.
        traceback.print_exc()
        code = 1
    _exit_fast(code)


def _exit_fast(code: object) -> NoReturn:
    """End without the destruction of all modules, whose memory is shared with the server until then."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
