"""Kill a process at a line of the code under test."""

import os
import signal
from collections.abc import Collection
from types import FrameType
from typing import Any


class Killer:
    """Kills this process when it is about to execute the n-th different line of the watched files."""

    def __init__(self, place: int, watched: Collection[str]) -> None:
        self._place = place
        self._watched = watched
        self._seen: set[tuple[str, int]] = set()

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in self._watched:
            return None
        if event == "line":
            self._seen.add((frame.f_code.co_filename, frame.f_lineno))
            if len(self._seen) >= self._place:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace
