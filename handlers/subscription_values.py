"""Subscriptions as JSON: read from requests as far as they can be read, and written for answers."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from domain.errors import Violation
from domain.subscriptions import COPENHAGEN, Entry, MessageType, Subscription, read_time, write_time
from handlers.errors.error_list_texts import no_such_time
from openapi.replies import to_json

FIRST_YEAR, LAST_YEAR = 1900, 2999
"""In Copenhagen: what an offset puts beyond could not be written in the form in which it is read."""


def read_entries(items: Sequence[Any], violations: list[Violation]) -> list[Entry]:
    """The entries as far as nothing is wrong with them; times that do not exist are added to the violations."""
    faulty: dict[int, set[str]] = {}
    for violation in violations:
        if violation.index is not None:
            faulty.setdefault(violation.index, set()).add(violation.field)
    nothing: set[str] = set()
    return [_read_entry(index, item, faulty.get(index, nothing), violations) for index, item in enumerate(items)]


def _read_entry(index: int, item: Any, faulty: set[str], violations: list[Violation]) -> Entry:
    if not isinstance(item, dict):
        return Entry(index, is_clean=False)
    value = item if not faulty else {name: inner for name, inner in item.items() if name not in faulty}
    known = len(violations)
    start = _read_time(value.get("startDato"), "startDato", index, violations)
    end = _read_time(value.get("slutDato"), "slutDato", index, violations)
    return Entry(
        index=index,
        org_type=value.get("orgType"),
        org_code=value.get("orgCode"),
        entity_type=value.get("entityType"),
        webhook_url=value.get("webhookUrl"),
        start=start,
        end=end,
        is_clean=not faulty and len(violations) == known,
    )


def _read_time(text: str | None, name: str, index: int, violations: list[Violation]) -> datetime | None:
    if text is None:
        return None
    moment = read_time(text)
    if moment is None or not FIRST_YEAR <= moment.astimezone(COPENHAGEN).year <= LAST_YEAR:
        violations.append(no_such_time(name, index))
        return None
    return moment


def write_set(system_id: str, subscriptions: Iterable[Subscription]) -> bytes:
    """The set of a system, as a request of the sync has it."""
    # One at a time: an encoder keeps Python's lock for as long as it runs.
    items = b",".join(to_json(_write(subscription)) for subscription in subscriptions)
    return b'{"systemIdentifier":%s,"abonnementer":[%s]}' % (to_json(system_id), items)


def _write(subscription: Subscription) -> dict[str, Any]:
    identity = subscription.identity
    return {
        "orgType": identity.org_type,
        "orgCode": identity.org_code,
        "entityType": identity.entity_type,
        "webhookUrl": subscription.webhook_url,
        "startDato": write_time(subscription.start),
        "slutDato": None if subscription.end is None else write_time(subscription.end),
    }


def write_message_type(org_type: int, message_type: MessageType) -> dict[str, Any]:
    """A message type that an orgType may subscribe to."""
    return {
        "orgType": org_type,
        "entityType": message_type.entity_type,
        "navn": message_type.name,
        "startDato": None if message_type.start is None else message_type.start.isoformat(),
        "slutDato": None if message_type.end is None else message_type.end.isoformat(),
    }
