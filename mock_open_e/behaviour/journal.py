"""The journal of the mock Open-E: each received call, its response, and the reason for each rejection."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from mock_open_e.behaviour.newest import Newest
from mock_open_e.behaviour.orders import FaultName, Instance
from mock_open_e.behaviour.state import Limits

_FILE_WEIGHT = 200
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "apikey"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason for a rejection in plain words: what was received, and what would have been accepted."""

    received: str
    accepted: str


@dataclass(frozen=True, slots=True)
class MockResponse:
    """Instructions for an interface: wait `delay` seconds, then respond, reset the connection, or close it.

    With `trickle` the body is sent byte by byte over this number of seconds; 0 sends it at once. The response to HEAD
    has no body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    ending: Literal["response", "reset", "close"] = "response"
    trickle: float = 0.0


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of a call. While its bytes are stored, `sha256` finds them."""

    filename: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One call.

    `headers` have lower-case names and no credentials. `body` and the response body are truncated at the journal's
    limit; the sizes are those before truncation. `operation` and `case` are None if the call contains none that can be
    parsed. `fault` is the ordered fault that the call received. `refusal` is None for accepted calls. `notes` describe
    the parts that Open-E silently ignores and strict mode would reject.
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
    response: MockResponse
    response_size: int
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
    """Facts about a call that are collected while it is processed."""

    operation: str | None = None
    case: int | None = None
    user_id: str | None = None
    message_id: int | None = None
    files: tuple[SentFile, ...] = ()
    fault: FaultName | None = None
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


class ReceivedCall(NamedTuple):
    """One call from an interface. `path` is the part after `/api/messageapi/` for calls of the messageapi."""

    instance: Instance
    method: str
    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes | bytearray
    path: str = ""


class Journal:
    """The newest calls, limited by count and by the bytes of requests and responses. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries = Newest[Entry](limits.journal_entries, limits.journal_bytes, _compute_weight)
        self._next = 1

    def list_entries(self) -> list[Entry]:
        """Return the stored calls, oldest first."""
        return list(self._entries)

    def add_entry(self, at: datetime, call: ReceivedCall, response: MockResponse, findings: Findings) -> None:
        """Record a call. Drop the oldest ones if they are too many or too large."""
        longest = self._limits.journal_entry_bytes
        entry = Entry(
            number=self._next,
            at=at,
            instance=call.instance,
            method=call.method,
            url=call.url,
            query=call.query,
            headers=_redact_headers(call.headers),
            body=bytes(call.body[:longest]),
            body_size=len(call.body),
            response=replace(response, body=response.body[:longest]),
            response_size=len(response.body),
            **{each.name: getattr(findings, each.name) for each in fields(findings)},
        )
        self._next += 1
        self._entries.add(entry)

    def clear(self) -> None:
        """Delete all calls. Numbers continue."""
        self._entries.clear()


def _redact_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers with credentials replaced by asterisks."""
    return MappingProxyType({name: "***" if name in _SECRET_HEADERS else value for name, value in headers.items()})


def _compute_weight(entry: Entry) -> int:
    sizes = [len(name) + len(value) for name, value in entry.headers.items()]
    sizes += [len(text) for text in (entry.url, entry.query, entry.operation or "", entry.user_id or "", *entry.notes)]
    sizes += [_FILE_WEIGHT + len(file.filename) for file in entry.files]
    return len(entry.body) + len(entry.response.body) + sum(sizes)
