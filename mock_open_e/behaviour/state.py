"""The data of one instance of the mock Open-E: cases, messages, events, and the files of its messages.

Functions return frozen snapshots. This module is not thread-safe: `MockOpenE` holds the lock.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple, TypedDict

from mock_open_e.behaviour.newest import Newest
from mock_open_e.behaviour.orders import Instance
from mock_open_e.behaviour.scenario import Scenario, User

Kind = Literal["manager", "owner", "internal"]
"""The author and the audience of a message: staff to citizen, citizen to staff, or staff internally."""

FIRST_NUMBERS: Mapping[Instance, int] = {"external": 1, "internal": 1_000_001}
"""The first number of each instance. They are far apart, so that tests detect a confusion of the instances."""


_FILE_WEIGHT = 200
"""The assumed size of the record of a file, without its bytes."""


class Content(NamedTuple):
    """The received data of a file: length in bytes, SHA-256 in lower-case hex, and the bytes unless too large."""

    size: int
    sha256: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file of a message. `size` is the declared one in bytes, which Open-E stores unchecked."""

    attachment_id: int
    filename: str
    size: int
    content: Content
    added: datetime


class FileJson(TypedDict):
    """A file in the format of the control API. `size` is the declared one in bytes."""

    filename: str
    size: int
    sha256: str


class MessageJson(TypedDict):
    """A message in the format of the control API. `added` is the time as sent; `userID` is None if absent."""

    instance: Instance
    messageID: int
    flowInstanceID: int
    message: str
    userID: str | None
    added: str
    attachments: list[FileJson]


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message.

    `added` is the time as sent. `user_id` is the sender as sent; `poster` is its user, None if Open-E shows no sender.
    `origin` is the operation that stored the message, or `planted`. `duplicate_of` is the messageID of the first
    message with the same case, kind, text, sender and files. `sequence` increases over both instances.
    """

    instance: Instance
    message_id: int
    case: int
    kind: Kind
    text: str
    added: str
    stored: datetime
    user_id: str | None
    poster: User | None
    files: tuple[File, ...]
    read_receipt: bool = False
    citizen_id: str | None = None
    origin: str = "addMessage"
    duplicate_of: int | None = None
    sequence: int = 0

    def as_dict(self) -> MessageJson:
        """Return the message in the format of the control API."""
        return {
            "instance": self.instance,
            "messageID": self.message_id,
            "flowInstanceID": self.case,
            "message": self.text,
            "userID": self.user_id,
            "added": self.added,
            "attachments": [
                {"filename": file.filename, "size": file.size, "sha256": file.content.sha256} for file in self.files
            ],
        }


@dataclass(frozen=True, slots=True)
class Event:
    """An entry in the history of a case. `date` is as sent, `kind` is the operation that created it."""

    instance: Instance
    event_id: int
    case: int
    kind: str
    date: str
    text: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """The current state of a case. `status` is the number or alias that was set; 0 initially."""

    instance: Instance
    number: int
    family: int | None = None
    status: int | str = 0
    managers: tuple[str, ...] = ()
    manager_groups: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    external_id: tuple[str, str] | None = None
    delivered: bool | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the stored data in items and bytes. Beyond a limit the oldest item is removed."""

    messages: int = 20_000
    text_bytes: int = 64 * 2**20
    file_bytes: int = 64 * 2**20
    events: int = 20_000
    journal_entries: int = 1_000
    journal_bytes: int = 16 * 2**20
    journal_entry_bytes: int = 256 * 2**10


class Files:
    """The bytes of files by SHA-256, up to a limit. The oldest are removed first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stored: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def store(self, content: Content) -> Content:
        """Store the bytes, and return the content without them."""
        if content.data is not None and content.size <= self._limit:
            if content.sha256 in self._stored:
                self._stored.move_to_end(content.sha256)
            else:
                self._stored[content.sha256] = content.data
                self._size += content.size
            while self._size > self._limit:
                _, data = self._stored.popitem(last=False)
                self._size -= len(data)
        return content._replace(data=None)

    def get(self, sha256: str) -> bytes | None:
        """Return the bytes, or None if they are no longer stored."""
        return self._stored.get(sha256)

    def clear(self) -> None:
        """Remove all files."""
        self._stored.clear()
        self._size = 0


class State:
    """The cases, messages and events of one instance, each with its own numbers."""

    def __init__(self, instance: Instance, scenario: Scenario, limits: Limits, sequence: Iterator[int]) -> None:
        self.instance = instance
        self.messages = Newest[Message](limits.messages, limits.text_bytes, _compute_message_weight)
        self.events = Newest[Event](limits.events, limits.text_bytes, _compute_event_weight)
        self._sequence = sequence
        self._firsts: dict[bytes, int] = {}
        self._next = dict.fromkeys(("message", "internal", "event", "attachment"), FIRST_NUMBERS[instance])
        self.conditions = scenario.external if instance == "external" else scenario.internal
        self._creates_cases = scenario.cases is None
        self._cases = {
            case.number: Case(instance, case.number, case.family, case.status, case.managers, case.manager_groups)
            for case in scenario.cases or ()
            if case.instance in {None, instance}
        }

    def take_next_number(self, kind: Literal["message", "internal", "event", "attachment"]) -> int:
        """Return the next number of a kind, like a database sequence. Other senders take some messageIDs before it."""
        number = self._next[kind] + (self.conditions.taken_ids if kind == "message" else 0)
        self._next[kind] = number + 1
        return number

    def find_case(self, number: int | None) -> Case | None:
        """Return the case with that number, or None. If no cases are declared, create positive ones on first use."""
        if number is None or number < 1:
            return None
        return self._cases.get(number) or (Case(self.instance, number) if self._creates_cases else None)

    def list_cases(self) -> list[Case]:
        """Return the declared cases and those with data, by number."""
        return [self._cases[number] for number in sorted(self._cases)]

    def store_case(self, case: Case) -> None:
        """Store a case."""
        self._cases[case.number] = case

    def add(self, message: Message) -> Message:
        """Store a message, and record of which other message it is a duplicate."""
        key = _compute_duplicate_key(message)
        first = self._firsts.setdefault(key, message.message_id)
        duplicate_of = None if first == message.message_id else first
        message = replace(message, duplicate_of=duplicate_of, sequence=next(self._sequence))
        self.store_case(self._cases.get(message.case) or Case(self.instance, message.case))
        for removed in self.messages.add(message):
            # Duplicates are recognised only as long as the first message is stored.
            if self._firsts.get(_compute_duplicate_key(removed)) == removed.message_id:
                del self._firsts[_compute_duplicate_key(removed)]
        return message

    def add_event(self, case: int, kind: str, date: str, text: str, user_id: str | None) -> Event:
        """Add an entry to the history of a case."""
        event = Event(self.instance, self.take_next_number("event"), case, kind, date, text, user_id)
        self.events.add(event)
        return event

    def clear(self) -> None:
        """Delete messages and events. Numbers continue, and cases keep their state."""
        self.messages.clear()
        self.events.clear()
        self._firsts.clear()


def _compute_message_weight(message: Message) -> int:
    texts = (message.text, message.added, message.user_id or "", message.citizen_id or "")
    return sum(map(len, texts)) + sum(_FILE_WEIGHT + len(file.filename) for file in message.files)


def _compute_event_weight(event: Event) -> int:
    return len(event.text) + len(event.date) + len(event.user_id or "")


def _compute_duplicate_key(message: Message) -> bytes:
    """Return a short key that is equal for duplicate messages."""
    files = [(file.filename, file.size, file.content.sha256) for file in message.files]
    parts = (message.case, message.kind, message.text, message.user_id, files)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
