"""A named pipe next to a SQLite file, through which other processes wake its worker (decision 0024)."""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class WakePipe:
    """The pipe of the database file at `path`. Its name is hidden, because programs that read it would wait."""

    def __init__(self, path: Path) -> None:
        self._database = path.resolve()
        self._path = self._database.with_name(f".{self._database.name}.wake")

    def send(self) -> None:
        """Wake the worker. Do nothing if there is none, or if it has not read the previous signal."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(descriptor, b"\0")
            finally:
                os.close(descriptor)

    @contextmanager
    def watch(self, wake: Callable[[], None]) -> Iterator[bool]:
        """Call `wake` after each `send`. Yield False if the file system or the event loop cannot do that."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = self._open()
                stack.callback(os.close, descriptor)
                loop = asyncio.get_running_loop()

                def read() -> None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(descriptor, 4096)
                    wake()

                loop.add_reader(descriptor, read)
                stack.callback(loop.remove_reader, descriptor)
            except (OSError, NotImplementedError):
                yield False
                return
            yield True

    def _open(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, stat.S_IMODE(self._database.stat().st_mode))
        # Also for writing: otherwise the pipe is at its end, and readable, whenever no process has it open for writing.
        return os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
