"""Decide which messages in doubt are on their case, from what Open-E shows of it. Pure functions (decision 0026)."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from domain.web_messages import MessageState, OepInstance, OpenEName, WebMessage

MAX_START = timedelta(seconds=10)
"""Maximum time between `sent` of a message and the beginning of its call. A later call is not made."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case of an Open-E."""

    open_e: OpenEName
    flow_instance_id: int


@dataclass(frozen=True, slots=True)
class CallTimes:
    """The times after which the outcome of a call is certain. `timeout` is the sum of both timeouts of a call.

    `margin` covers the differences between the clocks of processes.
    """

    timeout: timedelta
    margin: timedelta

    @property
    def longest_call(self) -> timedelta:
        """The longest time between `sent` of a message and the end of its call."""
        return MAX_START + self.timeout

    @property
    def until_absent(self) -> timedelta:
        """The time after `sent` from which a message that is not on its case can no longer arrive there."""
        return self.longest_call + self.margin


@dataclass(frozen=True, slots=True)
class SettlingRules:
    """The times and the time zone by which messages are settled. `interval` is the shortest wait between two reads."""

    times: CallTimes
    zone: tzinfo
    interval: timedelta


@dataclass(frozen=True, slots=True)
class PublicationOutcome:
    """The outcome of one publication: `PUBLISHED` with Open-E's id, `UNKNOWN`, or None for certainly not published.

    `sent` is when its call was sent: an operator may send the message again before the outcome is recorded.
    """

    message: WebMessage
    sent: datetime
    state: Literal[MessageState.PUBLISHED, MessageState.UNKNOWN] | None
    open_e_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class PublicationStatus:
    """The state of a message for operators, without its content.

    `caller` is the name of the API key, known for messages with an Idempotency-Key. `failures` is the number of
    read-backs of its case that failed in a row, and `next_read` when the case is read again, None if it was not read.
    """

    id: str
    state: MessageState
    oep_instance: OepInstance
    open_e: OpenEName
    flow_instance_id: int | None
    sent: datetime | None
    created: datetime | None
    open_e_message_id: int | None
    is_in_doubt: bool
    caller: str | None
    failures: int
    next_read: datetime | None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hashes of what a message and its copy on a case have in common.

    `exact` covers the text, with all kinds of line breaks alike, names and sizes of the files in any order, and whether
    the message is one of the owner of the case.
    `reduced` is the same for a copy that lost characters outside Latin-1: a message has it if there is something to
    lose, a copy if it contains no such character. `sender` is of the user name in lower case, None without one.
    """

    exact: str
    reduced: str | None
    sender: str | None


@dataclass(frozen=True, slots=True)
class CaseMessage:
    """A message on a case, as Open-E shows it. `minute` has no offset: its time zone is that of Open-E or of `sent`."""

    id: int
    fingerprint: Fingerprint
    minute: datetime


@dataclass(frozen=True, slots=True)
class Publication:
    """A message that was sent to a case and whose outcome is not recorded. If `is_in_flight`, its call may run."""

    id: str
    sent: datetime
    fingerprint: Fingerprint
    is_in_flight: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcomes of publications of one case.

    `found` has Open-E's id for each message on the case, `absent` the messages that are not there, and `waiting` those
    that wait for the outcome of an equal call. `undecidable` are found messages for which the case has more copies than
    were sent: another sender posted the same text in the same minute.
    """

    found: dict[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    undecidable: tuple[str, ...] = ()


def fingerprint_sent(
    text: str, files: Iterable[tuple[str, int]], sender: str | None, *, is_from_owner: bool = False
) -> Fingerprint:
    """Return the fingerprint of a message that was sent. `files` are names with sizes."""
    names = sorted(files)
    has_something_to_lose = not all(map(_is_latin, [text, *(name for name, _ in names)]))
    return _build_fingerprint(text, names, sender, is_reduced=has_something_to_lose, is_from_owner=is_from_owner)


def fingerprint_shown(
    text: str, files: Iterable[tuple[str, int]], sender: str | None, *, is_from_owner: bool = False
) -> Fingerprint:
    """Return the fingerprint of a message as Open-E shows it. `files` are names with sizes."""
    names = sorted(files)
    may_have_lost = all(map(_is_latin, [text, *(name for name, _ in names)]))
    return _build_fingerprint(text, names, sender, is_reduced=may_have_lost, is_from_owner=is_from_owner)


def settle(
    publications: Sequence[Publication], shown: Iterable[CaseMessage], taken: Collection[int], zone: tzinfo
) -> Settlement:
    """Return the outcomes of publications of one case, given its messages in Open-E and the ids that are taken.

    Each copy belongs to one message: the oldest message gets the oldest copy. Exact copies are assigned first, then
    copies that lost characters or the sender. `zone` is the time zone of Open-E, in which it may show times.
    """
    ordered = sorted(publications, key=lambda each: (each.sent, each.id))
    in_flight = [each for each in ordered if each.is_in_flight]
    found: dict[str, int] = {}
    waiting: list[str] = []
    minutes = {each.id: _list_minutes(each, zone) for each in ordered}
    # A case can have many more messages than those in doubt, so compare only those that can match.
    hashes = {hash_ for each in ordered for hash_ in (each.fingerprint.exact, each.fingerprint.reduced)}
    free = sorted(
        (
            each
            for each in shown
            if each.id not in taken and hashes & {each.fingerprint.exact, each.fingerprint.reduced}
        ),
        key=lambda each: (each.minute, each.id),
    )

    def matches(publication: Publication, copy: CaseMessage, *, exactly: bool) -> bool:
        return copy.minute in minutes[publication.id] and _is_copy(publication.fingerprint, copy.fingerprint, exactly)

    def waits(publication: Publication) -> bool:
        return any(
            minutes[each.id] & minutes[publication.id] and _has_same_text(each.fingerprint, publication.fingerprint)
            for each in in_flight
        )

    for exactly in (True, False):
        for publication in ordered:
            if publication.is_in_flight or publication.id in found or publication.id in waiting:
                continue
            copy = next((each for each in free if matches(publication, each, exactly=exactly)), None)
            if copy is None:
                continue
            if waits(publication):
                waiting.append(publication.id)
                continue
            found[publication.id] = copy.id
            # One message may be shown twice, or in two readings of the response.
            free = [each for each in free if each.id != copy.id]
    settled = [each for each in ordered if not each.is_in_flight and each.id not in waiting]
    return Settlement(
        found=found,
        absent=tuple(each.id for each in settled if each.id not in found),
        waiting=tuple(waiting),
        undecidable=tuple(
            each.id for each in settled if each.id in found and any(matches(each, copy, exactly=False) for copy in free)
        ),
    )


_NOT_LATIN = re.compile(r"[^\x00-\xff]")


def _is_latin(text: str) -> bool:
    return text.isascii() or _NOT_LATIN.search(text) is None


def _build_fingerprint(
    text: str, files: Sequence[tuple[str, int]], sender: str | None, *, is_reduced: bool, is_from_owner: bool
) -> Fingerprint:
    # Regular expressions would hold the GIL for a second if a long text has many line breaks.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    reduced = None
    if is_reduced:
        reduced = _hash(
            _reduce(text), sorted((_reduce(name), size) for name, size in files), is_from_owner=is_from_owner
        )
    # Open-E may show an owner by another name than the one that was sent.
    sender_hash = None if sender is None or is_from_owner else _hash(sender.lower(), ())
    return Fingerprint(_hash(text, files, is_from_owner=is_from_owner), reduced, sender_hash)


def _reduce(text: str) -> str:
    """Return a text with one question mark for each sequence of question marks and characters outside Latin-1."""
    reduced = text.encode("latin-1", "replace")
    while b"??" in reduced:
        reduced = reduced.replace(b"??", b"?")
    return reduced.decode("latin-1")


def _hash(text: str, files: Sequence[tuple[str, int]], *, is_from_owner: bool = False) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + json.dumps(files).encode())
    if is_from_owner:
        digest.update(b"\0owner")
    return digest.hexdigest()


def _list_minutes(publication: Publication, zone: tzinfo) -> frozenset[datetime]:
    """Return the minutes at which Open-E may show a message: as it was sent, or in the time zone of Open-E."""
    utc = publication.sent.astimezone(UTC)
    return frozenset(each.replace(second=0, microsecond=0, tzinfo=None, fold=0) for each in (utc, utc.astimezone(zone)))


def _has_same_text(one: Fingerprint, other: Fingerprint) -> bool:
    return one.exact == other.exact or (one.reduced is not None and one.reduced == other.reduced)


def _is_copy(sent: Fingerprint, shown: Fingerprint, exactly: bool) -> bool:  # noqa: FBT001  # A private predicate.
    if exactly:
        return sent.exact == shown.exact and sent.sender == shown.sender
    # Open-E drops a sender that it does not know.
    is_sender_possible = sent.sender is None or shown.sender is None or sent.sender == shown.sender
    return is_sender_possible and _has_same_text(sent, shown)
