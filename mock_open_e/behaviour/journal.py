"""The journal of the mock Open-E: every call that came, what was answered, and why a refused one was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from mock_open_e.behaviour.kept import Newest
from mock_open_e.behaviour.orders import FaultName, Instance
from mock_open_e.behaviour.state import Limits

_FILE_WEIGHT = 200
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "apikey"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was refused, in plain words: what came, and what would have been accepted."""

    received: str
    accepted: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door has to do: wait `delay` seconds, then answer, reset the connection, or close it without a byte.

    `trickle` is in how many seconds the body goes out, byte by byte; 0 for at once. A HEAD request gets no body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    ending: Literal["answer", "reset", "close"] = "answer"
    trickle: float = 0.0


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of a call, kept or not: the bytes, while they are kept, are found by `sha256`."""

    filename: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One call.

    `headers` have lower-case names and no credentials. `body` and the answer's body are cut at the journal's limit;
    the sizes are those before. `operation` and `case` are None where the call names none that can be read.
    `fault` is the ordered fault that it got. `refusal` is None for what was accepted. `notes` say in plain words what
    Open-E silently swallows of it, which strict mode would refuse.
    """

    number: int
    at: datetime
    instance: Instance
    method: str
    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    body_size: int
    answer: Answer
    answer_size: int
    operation: str | None = None
    case: int | None = None
    user_id: str | None = None
    message_id: int | None = None
    files: tuple[SentFile, ...] = ()
    fault: FaultName | None = None
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Findings:
    """What is learnt of a call while it is dealt with."""

    operation: str | None = None
    case: int | None = None
    user_id: str | None = None
    message_id: int | None = None
    files: tuple[SentFile, ...] = ()
    fault: FaultName | None = None
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


class Call(NamedTuple):
    """One call as a door gives it. `path` is what follows `/api/messageapi/`, if that was called."""

    instance: Instance
    method: str
    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes | bytearray
    path: str = ""


class Journal:
    """The newest calls, bounded by count and by the bytes of what came and what was answered. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries = Newest[Entry](limits.journal_entries, limits.journal_bytes, _weight)
        self._next = 1

    def entries(self) -> list[Entry]:
        """The kept calls, oldest first."""
        return list(self._entries)

    def note(self, at: datetime, call: Call, answer: Answer, findings: Findings) -> None:
        """Writes a call down; the oldest go, once there are too many or too large ones."""
        longest = self._limits.journal_entry_bytes
        entry = Entry(
            number=self._next,
            at=at,
            instance=call.instance,
            method=call.method,
            url=call.url,
            query=call.query,
            headers=_without_secrets(call.headers),
            body=bytes(call.body[:longest]),
            body_size=len(call.body),
            answer=replace(answer, body=answer.body[:longest]),
            answer_size=len(answer.body),
            **{each.name: getattr(findings, each.name) for each in fields(findings)},
        )
        self._next += 1
        self._entries.add(entry)

    def clear(self) -> None:
        """Forgets all calls. Numbers go on."""
        self._entries.clear()


def _without_secrets(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers with credentials replaced by stars."""
    return MappingProxyType({name: "***" if name in _SECRET_HEADERS else value for name, value in headers.items()})


def _weight(entry: Entry) -> int:
    sizes = [len(name) + len(value) for name, value in entry.headers.items()]
    sizes += [len(text) for text in (entry.url, entry.query, entry.operation or "", entry.user_id or "", *entry.notes)]
    sizes += [_FILE_WEIGHT + len(file.filename) for file in entry.files]
    return len(entry.body) + len(entry.answer.body) + sum(sizes)
