"""Subscriptions: what one is, the rules of a sync, and the plan that makes a system's set what it wants.

Sources: the owner's page on SyncWebhookAbonnementer and the error codes of EksternKommunikation.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import IntEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

COPENHAGEN = ZoneInfo("Europe/Copenhagen")

MAX_SUBSCRIPTIONS = 50_000


class ErrorCode(IntEnum):
    """The published numbers of what can be wrong with a call."""

    NEGATIVE_DURATION = 1003
    INTERNAL = 1011
    NO_KEY = 1012
    NO_ACCESS = 1013
    NOT_VALID = 1014
    NO_CERTIFICATE = 1101
    END_IN_THE_PAST = 150000
    UNKNOWN_TYPE = 150002
    TYPE_NOT_ALLOWED = 150101
    WEBHOOK_NOT_ACCEPTABLE = 150102
    NAMED_TWICE = 150103
    ANOTHER_EVENT = 150104
    NO_SUBSCRIPTION = 150105


class Identity(NamedTuple):
    """What makes two subscriptions of one system the same."""

    org_type: int
    org_code: int
    entity_type: int


class Subscription(NamedTuple):
    """Events of a type, about an organisation, to a path of the system; valid from start to end, both included.

    A tuple, since a sync makes as many as 100,000 of them.
    """

    identity: Identity
    webhook_url: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a request as far as it could be read; None is what could not. `index` is its place."""

    index: int
    org_type: int | None = None
    org_code: int | None = None
    entity_type: int | None = None
    webhook_url: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    is_clean: bool = True

    @property
    def identity(self) -> Identity | None:
        """The identity, if all of it could be read."""
        if self.org_type is None or self.org_code is None or self.entity_type is None:
            return None
        return Identity(self.org_type, self.org_code, self.entity_type)


@dataclass(frozen=True, slots=True)
class SyncError:
    """One thing that is wrong: the code, the entry it is about and the field."""

    code: ErrorCode
    index: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class MessageType:
    """A kind of event, valid from start to end (dates in Copenhagen), both included; None is open."""

    entity_type: int
    name: str
    start: date | None = None
    end: date | None = None

    def is_valid_on(self, day: date) -> bool:
        """Whether the type may be named on that day by new subscriptions: not when it has ended."""
        return self.end is None or day <= self.end


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be subscribed to, as the operator says."""

    message_types: Mapping[int, MessageType]
    allowed: Collection[tuple[int, int]]
    """Pairs of orgType and entityType."""


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync changes. Updates are pairs of before and after."""

    created: tuple[Subscription, ...] = ()
    updated: tuple[tuple[Subscription, Subscription], ...] = ()
    deleted: tuple[Subscription, ...] = ()
    unchanged: int = 0
    errors: tuple[SyncError, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.created or self.updated or self.deleted)


YEARS = range(1900, 3000)
"""Of local time: what is told to callers must be what they may send."""

_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:(Z)|([+-])(\d{2}):([0-5]\d))?", re.ASCII)


def read_time(text: str) -> datetime | None:
    """The instant that a text of the contract's form means, in UTC, to the microsecond; None for one that is none.

    Without an offset it is time in Copenhagen, and the first of two when the clock is set back. A time that the clock
    skips, or one that is not in the years 1900 to 2999 of Copenhagen, is none.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    seconds, fraction, zulu, sign, hours, minutes = match.groups()
    try:
        given = datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}")
        if zulu or sign:
            offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
            given = given.replace(tzinfo=timezone(-offset if sign == "-" else offset))
            local = given.astimezone(COPENHAGEN)
        else:
            local = given.replace(tzinfo=COPENHAGEN)
            # A time that the clock skips does not come back from UTC as it went.
            if local.astimezone(UTC).astimezone(COPENHAGEN).replace(tzinfo=None) != given:
                return None
        return local.astimezone(UTC) if local.year in YEARS else None
    except (ValueError, OverflowError):
        return None


def write_time(moment: datetime) -> str:
    """A moment in Copenhagen's time, with its offset."""
    return moment.astimezone(COPENHAGEN).isoformat()


def plan_sync(
    current: Mapping[Identity, Subscription], wanted: Sequence[Entry], offer: Offer, now: datetime
) -> SyncPlan:
    """What makes `current` what is wanted, or every rule that `wanted` breaks, by index, field and code.

    A rule is asked only where what it is about could be read. 150000, 150002 and 150101 are asked of entries that
    change something, so that the same request stays acceptable when time passes or the catalogue changes. An entry
    that breaks its contract is never the same as what is there.
    """
    errors: list[SyncError] = []
    created: list[Subscription] = []
    updated: list[tuple[Subscription, Subscription]] = []
    seen: set[Identity] = set()
    unchanged = 0
    today = now.astimezone(COPENHAGEN).date()
    midnight = datetime.combine(today, time(), COPENHAGEN).astimezone(UTC)
    for entry in wanted:
        identity = entry.identity
        before = None if identity is None else current.get(identity)
        if before is not None and _is_same(entry, before):
            unchanged += 1
        else:
            errors += _broken_rules(entry, offer, today, midnight)
            after = _subscription(entry, identity)
            if after is not None and before is None:
                created.append(after)
            elif after is not None and before is not None:
                updated.append((before, after))
        if identity is not None:
            if identity in seen:
                errors.append(SyncError(ErrorCode.NAMED_TWICE, entry.index, "entityType"))
            seen.add(identity)
    if errors:
        return SyncPlan(errors=tuple(sorted(errors, key=_place)))
    deleted = tuple(subscription for identity, subscription in current.items() if identity not in seen)
    return SyncPlan(tuple(created), tuple(updated), deleted, unchanged)


def _place(error: SyncError) -> tuple[int, str, int]:
    return (-1 if error.index is None else error.index, error.field or "", error.code)


def _is_same(entry: Entry, before: Subscription) -> bool:
    return (
        entry.webhook_url == before.webhook_url
        and entry.start == before.start
        and entry.end == before.end
        and entry.is_clean
    )


def _subscription(entry: Entry, identity: Identity | None) -> Subscription | None:
    if identity is None or entry.webhook_url is None or entry.start is None or not entry.is_clean:
        return None
    return Subscription(identity, entry.webhook_url, entry.start, entry.end)


def _broken_rules(entry: Entry, offer: Offer, today: date, midnight: datetime) -> list[SyncError]:
    """What is wrong with a new or changed entry. `midnight` is when today began."""
    errors = []
    if entry.start is not None and entry.end is not None and entry.start > entry.end:
        errors.append(SyncError(ErrorCode.NEGATIVE_DURATION, entry.index, "slutDato"))
    if entry.end is not None and entry.end < midnight:
        errors.append(SyncError(ErrorCode.END_IN_THE_PAST, entry.index, "slutDato"))
    if entry.entity_type is not None:
        message_type = offer.message_types.get(entry.entity_type)
        if message_type is None or not message_type.is_valid_on(today):
            errors.append(SyncError(ErrorCode.UNKNOWN_TYPE, entry.index, "entityType"))
        # Of a type that nobody knows there is nothing to allow.
        is_refused = (entry.org_type, entry.entity_type) not in offer.allowed
        if message_type is not None and entry.org_type is not None and is_refused:
            errors.append(SyncError(ErrorCode.TYPE_NOT_ALLOWED, entry.index, "orgType"))
    return errors
