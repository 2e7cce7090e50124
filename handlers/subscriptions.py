"""The operations of spec/subscriptions.yaml about subscriptions."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from starlette.responses import Response

from domain.errors import Violation
from domain.subscriptions import (
    COPENHAGEN,
    MAX_SUBSCRIPTIONS,
    Entry,
    MessageType,
    Subscription,
    SyncError,
    read_time,
    write_time,
)
from handlers.errors.error_list_texts import build_nonexistent_time_violation, build_rule_violation
from handlers.errors.error_lists import InvalidEntries
from handlers.requests import Request
from handlers.security.authorisation import SYSTEM, authorise_system
from openapi import replies
from persistence import subscriptions as stored
from persistence.subscriptions import SyncCall, SyncRefused, SyncResult

P = ParamSpec("P")
T = TypeVar("T")

SHORT = 200
"""Maximum entries that are processed in the event loop. More are processed in a thread."""

FIRST_YEAR, LAST_YEAR = 1900, 2999
"""Accepted years of Copenhagen time. Outside them, an offset could produce a time that has no text form."""


async def sync_webhook_abonnementer(request: Request) -> Response:
    """Replace the subscriptions of a system by those of the request, or report all violations."""
    body = request.body if isinstance(request.body, dict) else {}
    system_id = await _run_in_thread_if_long(len(request.violations), authorise_system, request, body.get(SYSTEM))
    items = body.get("abonnementer")
    items = items[:MAX_SUBSCRIPTIONS] if isinstance(items, list) else []
    wanted = await _run_in_thread_if_long(len(items), _read_entries, items, request.violations)

    result, broken = await _sync(request, system_id, wanted)
    if result is None:
        raise await _run_in_thread_if_long(len(items), _build_error, request.violations, broken, wanted, items)
    request.call.is_recorded = True
    return replies.ok(
        {
            "oprettet": result.created,
            "opdateret": result.updated,
            "slettet": result.deleted,
            "uaendret": result.unchanged,
            "slettedeBeskeder": result.dropped_messages,
        }
    )


async def hent_abonnementer(request: Request) -> Response:
    """Return the current subscriptions of a system in the format of the sync."""
    system_id = authorise_system(request, request.parameters.get(SYSTEM))
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # The parameter is required, so it is present without violations.
    current = await stored.list_subscriptions(request.services.database, system_id)
    return replies.ok_json(await _run_in_thread_if_long(len(current), _write_set, system_id, current))


async def hent_tilladte_beskedtyper(request: Request) -> Response:
    """Return the message types that an orgType may subscribe to."""
    request.raise_violations()
    org_type = request.parameters["orgType"]
    allowed = await stored.list_allowed(request.services.database, org_type)
    return replies.ok({"beskedtyper": [_write_message_type(org_type, message_type) for message_type in allowed]})


async def _sync(
    request: Request, system_id: str | None, wanted: Sequence[Entry]
) -> tuple[SyncResult | None, Sequence[SyncError]]:
    """Return the result of the sync, or None and the violated rules."""
    services = request.services
    if system_id is None:
        return None, await stored.list_broken_rules(services.database, wanted, services.now())
    call = SyncCall(
        system_id=system_id,
        wanted=wanted,
        now=services.now(),
        caller=request.caller,
        request_id=request.request_id,
        is_dry_run=request.parameters.get("dryRun", False),
        is_refused_anyway=bool(request.violations),
    )
    try:
        return await stored.sync(services.database, call), ()
    except SyncRefused as refused:
        return None, refused.errors


def _build_error(
    violations: Sequence[Violation], broken: Sequence[SyncError], wanted: Sequence[Entry], items: Sequence[Any]
) -> InvalidEntries:
    return InvalidEntries([*violations, *(build_rule_violation(error, wanted) for error in broken)], items)


async def _run_in_thread_if_long(entries: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `work`. For many entries it runs in a thread, so that other callers need not wait."""
    if entries <= SHORT:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def _read_entries(items: Sequence[Any], violations: list[Violation]) -> list[Entry]:
    """Return the entries without their invalid values. Nonexistent times are added to the violations."""
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
        violations.append(build_nonexistent_time_violation(name, index))
        return None
    return moment


def _write_set(system_id: str, subscriptions: Iterable[Subscription]) -> bytes:
    """Return the subscriptions of a system in the format of a sync request."""
    # Encode them one by one, because the JSON encoder holds the GIL while it runs.
    items = b",".join(replies.to_json(_write(subscription)) for subscription in subscriptions)
    return b'{"systemIdentifier":%s,"abonnementer":[%s]}' % (replies.to_json(system_id), items)


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


def _write_message_type(org_type: int, message_type: MessageType) -> dict[str, Any]:
    """Return a message type that an orgType may subscribe to, as JSON."""
    return {
        "orgType": org_type,
        "entityType": message_type.entity_type,
        "navn": message_type.name,
        "startDato": None if message_type.start is None else message_type.start.isoformat(),
        "slutDato": None if message_type.end is None else message_type.end.isoformat(),
    }
