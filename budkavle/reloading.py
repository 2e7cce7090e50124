"""Files that are read again without a restart: on SIGHUP, and within seconds of a change."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import structlog

from budkavle.settings import SettingsUnusable

CHECK_SECONDS = 10.0
"""Seconds between checks of the files."""


class ReloadedFiles(ABC):
    """The files of one purpose, whose `name` is in log events. `load` reads them."""

    name: str

    def __init__(self, paths: Sequence[Path], check_seconds: float = CHECK_SECONDS) -> None:
        self._paths = paths
        self._check_seconds = check_seconds
        self._files = _read_signature(paths)
        self._reported: object = None
        self._stopped = asyncio.Event()
        self._log = structlog.get_logger(f"budkavle.{self.name}")

    @abstractmethod
    def load(self) -> None:
        """Read the files and use their content from now on. Raises `SettingsUnusable`; then nothing has changed."""

    def reload(self) -> None:
        """Read the files again. Report unusable files and keep the previous content in use."""
        if not self._paths:
            return
        files = _read_signature(self._paths)
        try:
            self.load()
        except SettingsUnusable as exc:
            if self._reported != (files, str(exc)):
                self._reported = (files, str(exc))
                self._log.error(f"{self.name}_reload_failed", reason=str(exc))
            return
        self._files, self._reported = files, None
        self._log.info(f"{self.name}_reloaded")

    async def run(self) -> None:
        """Reload the files when they change, until `stop`."""
        while self._paths and not self._stopped.is_set():
            try:
                await asyncio.wait_for(self._stopped.wait(), self._check_seconds)
            except TimeoutError:
                if _read_signature(self._paths) != self._files:
                    self.reload()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()


def _read_signature(paths: Sequence[Path]) -> tuple[object, ...]:
    """Return a value that changes with the content of the files."""
    return tuple(_read_file_signature(path) for path in paths)


def _read_file_signature(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
