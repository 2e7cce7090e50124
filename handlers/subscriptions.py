"""The operations of spec/subscriptions.yaml."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from starlette.responses import Response

from domain.errors import Violation
from domain.subscriptions import MAX_SUBSCRIPTIONS, Entry, SyncError
from handlers.errors.error_list_texts import of_rule
from handlers.errors.error_lists import InvalidEntries
from handlers.requests import Request
from handlers.subscription_values import read_entries, write_message_type, write_set
from handlers.systems import SYSTEM, let_in
from openapi import replies
from persistence import subscriptions as stored
from persistence.subscriptions import SyncCall, SyncRefused, SyncResult

P = ParamSpec("P")
T = TypeVar("T")

SHORT = 200
"""Entries that are read and told where they are; more go to a thread."""


async def sync_webhook_abonnementer(request: Request) -> Response:
    """Makes the set of a system what the request says, or says everything that is wrong with it."""
    body = request.body if isinstance(request.body, dict) else {}
    system_id = await _aside(len(request.violations), let_in, request, body.get(SYSTEM))
    items = body.get("abonnementer")
    items = items[:MAX_SUBSCRIPTIONS] if isinstance(items, list) else []
    wanted = await _aside(len(items), read_entries, items, request.violations)

    result, broken = await _sync(request, system_id, wanted)
    if result is None:
        raise await _aside(len(items), _refusal, request.violations, broken, wanted, items)
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
    """The current set of a system, in the shape of the sync."""
    system_id = let_in(request, request.parameters.get(SYSTEM))
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # A parameter without violations is there.
    current = await stored.list_subscriptions(request.services.database, system_id)
    return replies.ok_json(await _aside(len(current), write_set, system_id, current))


async def hent_tilladte_beskedtyper(request: Request) -> Response:
    """The message types that an orgType may subscribe to."""
    request.raise_violations()
    org_type = request.parameters["orgType"]
    allowed = await stored.list_allowed(request.services.database, org_type)
    return replies.ok({"beskedtyper": [write_message_type(org_type, message_type) for message_type in allowed]})


async def _sync(
    request: Request, system_id: str | None, wanted: Sequence[Entry]
) -> tuple[SyncResult | None, Sequence[SyncError]]:
    """What was done, or nothing and the rules that are broken."""
    services = request.services
    if system_id is None:
        return None, await stored.list_broken_rules(services.database, wanted, services.now())
    call = SyncCall(
        system_id=system_id,
        wanted=wanted,
        now=services.now(),
        caller=request.call.caller,
        request_id=request.request_id,
        is_dry_run=request.parameters.get("dryRun", False),
        is_refused_anyway=bool(request.violations),
    )
    try:
        return await stored.sync(services.database, call), ()
    except SyncRefused as refused:
        return None, refused.errors


def _refusal(
    violations: Sequence[Violation], broken: Sequence[SyncError], wanted: Sequence[Entry], items: Sequence[Any]
) -> InvalidEntries:
    return InvalidEntries([*violations, *(of_rule(error, wanted) for error in broken)], items)


async def _aside(entries: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns; for many entries it runs in a thread, so that others need not wait."""
    if entries <= SHORT:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
