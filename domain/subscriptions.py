"""Subscriptions: dataclasses, the rules of a sync, and the plan of changes to a system's set of subscriptions.

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
    """The published numbers of errors."""

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
    NO_EVENT = 150106


class Identity(NamedTuple):
    """The identity of a subscription within its system."""

    org_type: int
    org_code: int
    entity_type: int


class Subscription(NamedTuple):
    """Delivery of events of one type about one organisation to a path of the system. `start` and `end` are inclusive.

    It is a tuple for speed: one sync creates up to 100,000 of them.
    """

    identity: Identity
    webhook_url: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a request. Fields that could not be parsed are None. `index` is its position in the request."""

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
        """The identity, or None if a part of it could not be parsed."""
        if self.org_type is None or self.org_code is None or self.entity_type is None:
            return None
        return Identity(self.org_type, self.org_code, self.entity_type)


@dataclass(frozen=True, slots=True)
class SyncError:
    """One violation: the error code, the index of the entry and the field."""

    code: ErrorCode
    index: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class MessageType:
    """A kind of event. `start` and `end` are inclusive dates in Copenhagen; None means unlimited."""

    entity_type: int
    name: str
    start: date | None = None
    end: date | None = None

    def is_valid_on(self, day: date) -> bool:
        """Return whether new subscriptions may use the type on that day, which means that it has not ended."""
        return self.end is None or day <= self.end


@dataclass(frozen=True, slots=True)
class Offer:
    """The message types and permissions that operators have configured."""

    message_types: Mapping[int, MessageType]
    allowed: Collection[tuple[int, int]]
    """Pairs of orgType and entityType."""


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The changes of a sync. Updates are pairs (before, after)."""

    created: tuple[Subscription, ...] = ()
    updated: tuple[tuple[Subscription, Subscription], ...] = ()
    deleted: tuple[Subscription, ...] = ()
    unchanged: int = 0
    errors: tuple[SyncError, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether the plan writes anything."""
        return bool(self.created or self.updated or self.deleted)


YEARS = range(1900, 3000)
"""Accepted years of local time. Callers must be able to send each time that they receive."""

_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:(Z)|([+-])(\d{2}):([0-5]\d))?", re.ASCII)


def read_time(text: str) -> datetime | None:
    """Return the instant that a text in the contract's format denotes, in UTC with microseconds, or None.

    A text without an offset is local time in Copenhagen. An ambiguous time (when clocks are set back) is the first of
    the two. The result is None for a time that the clock change skips and for years outside 1900 to 2999 in Copenhagen.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    seconds, fraction, zulu, sign, hours, minutes = match.groups()
    try:
        parsed = datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6]:0<6}")
        if zulu or sign:
            offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
            parsed = parsed.replace(tzinfo=timezone(-offset if sign == "-" else offset))
            local = parsed.astimezone(COPENHAGEN)
        else:
            local = parsed.replace(tzinfo=COPENHAGEN)
            # A skipped local time changes in the round trip through UTC.
            if local.astimezone(UTC).astimezone(COPENHAGEN).replace(tzinfo=None) != parsed:
                return None
        return local.astimezone(UTC) if local.year in YEARS else None
    except (ValueError, OverflowError):
        return None


def write_time(moment: datetime) -> str:
    """Return a moment in Copenhagen's local time, with its offset."""
    return moment.astimezone(COPENHAGEN).isoformat()


def plan_sync(
    current: Mapping[Identity, Subscription], wanted: Sequence[Entry], offer: Offer, now: datetime
) -> SyncPlan:
    """Return the changes from `current` to `wanted`, or all violations sorted by index, field and code.

    A rule is checked only if its inputs could be parsed. The rules 150000, 150002 and 150101 are checked only for
    entries that change something, so that a repeated request stays valid when time passes or the catalogue changes. An
    entry that violates the contract never counts as unchanged.
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
            errors += _check_rules(entry, offer, today, midnight)
            after = _build_subscription(entry, identity)
            if after is not None and before is None:
                created.append(after)
            elif after is not None and before is not None:
                updated.append((before, after))
        if identity is not None:
            if identity in seen:
                errors.append(SyncError(ErrorCode.NAMED_TWICE, entry.index, "entityType"))
            seen.add(identity)
    if errors:
        return SyncPlan(errors=tuple(sorted(errors, key=_build_sort_key)))
    deleted = tuple(subscription for identity, subscription in current.items() if identity not in seen)
    return SyncPlan(tuple(created), tuple(updated), deleted, unchanged)


def _build_sort_key(error: SyncError) -> tuple[int, str, int]:
    return (-1 if error.index is None else error.index, error.field or "", error.code)


def _is_same(entry: Entry, before: Subscription) -> bool:
    return (
        entry.webhook_url == before.webhook_url
        and entry.start == before.start
        and entry.end == before.end
        and entry.is_clean
    )


def _build_subscription(entry: Entry, identity: Identity | None) -> Subscription | None:
    if identity is None or entry.webhook_url is None or entry.start is None or not entry.is_clean:
        return None
    return Subscription(identity, entry.webhook_url, entry.start, entry.end)


def _check_rules(entry: Entry, offer: Offer, today: date, midnight: datetime) -> list[SyncError]:
    """Return the violations of a new or changed entry. `midnight` is the beginning of today."""
    errors = []
    if entry.start is not None and entry.end is not None and entry.start > entry.end:
        errors.append(SyncError(ErrorCode.NEGATIVE_DURATION, entry.index, "slutDato"))
    if entry.end is not None and entry.end < midnight:
        errors.append(SyncError(ErrorCode.END_IN_THE_PAST, entry.index, "slutDato"))
    if entry.entity_type is not None:
        message_type = offer.message_types.get(entry.entity_type)
        if message_type is None or not message_type.is_valid_on(today):
            errors.append(SyncError(ErrorCode.UNKNOWN_TYPE, entry.index, "entityType"))
        # An unknown type cannot have a permission; report only that it is unknown.
        is_forbidden = (entry.org_type, entry.entity_type) not in offer.allowed
        if message_type is not None and entry.org_type is not None and is_forbidden:
            errors.append(SyncError(ErrorCode.TYPE_NOT_ALLOWED, entry.index, "orgType"))
    return errors
