"""What was sent and what was made by it: told when a check fails, and cleaned up at the end."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

DIARY = "BUDKAVLE_CONTRACT_DIARY"
"""Names the file that each check and each thing made is noted in, a line each."""

FOLDER = "BUDKAVLE_CONTRACT_REPORT"
"""Names the folder for what a line of the shell needs beside itself."""

KEPT_BYTES = 1024 * 1024
"""Of what was sent in bytes; a failure in a larger one says so."""


@dataclass
class SentInBytes:
    """What went over one connection, with keys still standing for themselves."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.data += piece[: KEPT_BYTES - len(self.data)]


@dataclass(frozen=True)
class Call:
    """A request that an ordinary client sent."""

    method: str
    path: str
    """Below the target's URL, with the query."""
    headers: Mapping[str, str]
    body: bytes | None = None
    by_tls: bool = False
    """Whether the client certificate went by TLS."""


Sent = Call | SentInBytes

_sent: list[Sent] = []
_is_told_to_end = False


@contextmanager
def of_one_check() -> Iterator[list[Sent]]:
    """What is sent meanwhile."""
    _sent.clear()
    yield _sent


def sent_in_bytes() -> SentInBytes:
    """A new connection's."""
    sent = SentInBytes()
    _sent.append(sent)
    return sent


def sent(call: Call) -> None:
    """Keeps a request."""
    _sent.append(call)


def note_answer(status: int, location: str | None) -> None:
    """What an answer says was made, so that it can be deleted."""
    if status == 201 and location is not None:
        note("made", location)
    if _is_told_to_end:
        os._exit(128 + signal.SIGTERM)


def end_with_an_answer() -> None:
    """Has SIGTERM end the process of a suite with the next answer: what a request on its way makes would stay."""
    if DIARY in os.environ:
        signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    global _is_told_to_end  # noqa: PLW0603  # A handler of signals is a function that gets nothing of ours.
    _is_told_to_end = True


def note(kind: str, text: str) -> None:
    """A line in the diary, if one is kept."""
    path = os.environ.get(DIARY)
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as diary:
            diary.write(f"{kind} {text}\n")
