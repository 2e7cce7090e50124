"""Run `budkavle` and `mock-open-e` of shell scripts in processes that start fast.

The programs of these names, in a folder on the path, only have a server run them. The server is a process that has
imported the service, and it forks. Tests of wheels and installations start the installed programs themselves.
"""

import atexit
import importlib
import marshal
import multiprocessing
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

from tests.warm_programs import context, run_in_place

ENTRY_POINTS = {"budkavle": "budkavle.program", "mock-open-e": "mock_open_e.program"}
"""By the name of a program: the module of its function `main`."""

CLIENT = Path(__file__).with_name("warm_client.py")
LARGEST_REQUEST = 200_000


@cache
def start_server() -> Path:
    """Start the server, and return the folder with the programs."""
    folder = Path(tempfile.mkdtemp(prefix="budkavle-commands-"))
    address = folder / "server"
    for name in ENTRY_POINTS:
        command = shlex.join([sys.executable, "-IS", str(CLIENT), str(address), name])
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        listener.listen()
        ours, theirs = context.Pipe()
        with theirs:
            context.Process(target=_serve, args=(listener, theirs, folder)).start()
    # The server ends when this process closes its end, at the latest at its own end.
    atexit.register(ours.close)
    return folder


def build_path() -> str:
    """Return where a shell finds the programs, and all others of an installation."""
    return os.pathsep.join([str(start_server()), str(Path(sys.executable).parent), os.environ["PATH"]])


def build_shell_command(script: str) -> tuple[str, ...]:
    """Return the command line of a shell that runs a script with that path."""
    return ("/bin/sh", "-e", "-c", f"export PATH='{build_path()}'\n{script}")


def _serve(listener: socket.socket, tests: Connection, folder: Path) -> None:
    """Fork a process for each request. Remove the folder when the process of the tests ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while tests not in wait([listener, tests]):
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _run_and_report(connection)
        connection.close()
    shutil.rmtree(folder)


def _run_and_report(client: socket.socket) -> NoReturn:
    """Run a program, send it the signals of the client, and send its exit code. Kill it if the client has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, fds, _, _ = socket.recv_fds(client, LARGEST_REQUEST, 3)
    program = multiprocessing.get_context("fork").Process(target=_run, args=(*marshal.loads(request), fds))
    program.start()
    for fd in fds:
        os.close(fd)
    assert program.pid is not None
    while program.sentinel not in wait([client, program.sentinel]):
        # The client has ended if it sends nothing.
        for number in client.recv(1) or [signal.SIGKILL]:
            os.kill(program.pid, number)
    program.join()
    assert program.exitcode is not None
    with suppress(BrokenPipeError):
        client.send(program.exitcode.to_bytes(4, signed=True))
    os._exit(0)


def _run(arguments: list[str], env: dict[str, str], folder: str, umask: int, fds: list[int]) -> None:
    os.umask(umask)
    program = importlib.import_module(ENTRY_POINTS[arguments[0]]).main
    run_in_place(program, arguments, env, folder, [Connection(fd) for fd in fds])
