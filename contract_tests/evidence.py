"""Record requests and created resources, to reproduce failed checks and to clean up."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

RUN_RECORD = "BUDKAVLE_CONTRACT_RUN_RECORD"
"""The environment variable with the path of the run record: one line per check and per created resource."""

FOLDER = "BUDKAVLE_CONTRACT_REPORT"
"""The environment variable with the folder for files that shell commands refer to."""

KEPT_BYTES = 1024 * 1024
"""Maximum bytes stored per connection. The report of a failure names an excess."""


@dataclass
class SentBytes:
    """The bytes sent on one connection, with placeholders for keys."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.data += piece[: KEPT_BYTES - len(self.data)]


@dataclass(frozen=True)
class SentRequest:
    """A request sent by an HTTP client."""

    method: str
    path: str
    """The path below the target's URL, with the query."""
    headers: Mapping[str, str]
    body: bytes | None = None
    by_tls: bool = False
    """Whether TLS presented the client certificate."""


Sent = SentRequest | SentBytes

_sent: list[Sent] = []
_is_ending = False


@contextmanager
def recording() -> Iterator[list[Sent]]:
    """Yield the list of requests that are sent inside the block."""
    _sent.clear()
    yield _sent


def record_connection() -> SentBytes:
    """Return the record of a new connection."""
    connection = SentBytes()
    _sent.append(connection)
    return connection


def record_request(call: SentRequest) -> None:
    """Record a request."""
    _sent.append(call)


def record_response(status: int, location: str | None) -> None:
    """Record the resource that a response reports as created, so that it can be deleted."""
    if status == 201 and location is not None:
        append_to_run_record("made", location)
    if _is_ending:
        os._exit(128 + signal.SIGTERM)


def end_after_next_response() -> None:
    """Let SIGTERM end the process after the next response, so that no created resource remains unrecorded."""
    if RUN_RECORD in os.environ:
        signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    global _is_ending  # noqa: PLW0603  # A signal handler is a function without arguments of ours.
    _is_ending = True


def append_to_run_record(kind: str, text: str) -> None:
    """Append a line to the run record, if there is one."""
    path = os.environ.get(RUN_RECORD)
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{kind} {text}\n")
