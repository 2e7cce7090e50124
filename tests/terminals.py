"""Run `budkavle` on a terminal, in a process that starts fast."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
from dataclasses import dataclass
from pathlib import Path

from tests.warm_programs import PROGRAM, ForkedProgram

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Screen:
    """The exit code of a program, all that it wrote to the terminal, and what it wrote to a file instead."""

    exit_code: int
    raw: str
    redirected: str

    @property
    def text(self) -> str:
        """Return what was written without sequences that control the terminal."""
        return _SEQUENCE.sub("", self.raw).replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        """Return the written lines without spaces at their ends."""
        return [line.rstrip() for line in self.text.splitlines()]


def run_on_terminal(
    database_url: str, *arguments: str, columns: int = 80, is_redirected: bool = False, **environment: str
) -> Screen:
    """Run a command on a terminal of a width. With `is_redirected`, standard output is a file."""
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env |= {"BUDKAVLE_DATABASE_URL": database_url, **environment}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    reader, writer = os.pipe()
    out = writer if is_redirected else os.dup(theirs)
    program = ForkedProgram([*PROGRAM, *arguments], env, Path.cwd(), [os.dup(theirs), out, theirs])
    if not is_redirected:
        os.close(writer)
    try:
        return Screen(*_read(program, ours, reader))
    finally:
        program.kill()
        os.close(ours)
        os.close(reader)


def _read(program: ForkedProgram, terminal: int, redirected: int) -> tuple[int, str, str]:
    """Return the exit code and what a program writes to its two outputs, until it has ended."""
    texts = {terminal: b"", redirected: b""}
    is_open = set(texts)
    while is_open:
        ready, _, _ = select.select(is_open, [], [], SECONDS)
        assert ready, f"the program wrote nothing for {SECONDS} seconds"
        for descriptor in ready:
            try:
                data = os.read(descriptor, 65536)
            except OSError:
                # A terminal that no process has open any more.
                data = b""
            texts[descriptor] += data
            if not data:
                is_open.remove(descriptor)
    code = program.wait(SECONDS)
    return code, texts[terminal].decode(), texts[redirected].decode()
