"""The operations of spec/subscriptions.yaml about the deliveries of a system."""

import asyncio
from typing import Any

from starlette.responses import Response

from domain.deliveries import DeliveryState, NotReplayed, QueuedDelivery
from domain.delivery_pauses import DeliveryPause, find_pause
from domain.events import NO_OBJECT, Event
from domain.subscriptions import Identity, write_time
from handlers import paging
from handlers.audit import build_entry
from handlers.requests import Request
from handlers.security.authorisation import SYSTEM, authorise_system
from openapi import replies
from persistence import deliveries as queued
from persistence import delivery_pauses
from persistence.deliveries import TrialEvent
from persistence.outbox import Publication

MAX_PAGE = 1000

STATUS = {DeliveryState.WAITING: "venter", DeliveryState.PARKED: "parkeret"}
_STATE = {name: state for state, name in STATUS.items()}

CREATED = 1
"""The kind of change of a test message."""


async def hent_beskeder(request: Request) -> Response:
    """Return the undelivered messages of a system, without their content."""
    parameters = request.parameters
    system_id = authorise_system(request, parameters.get(SYSTEM))
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # The parameter is required, so it is present without violations.
    status: str | None = parameters.get("status")
    limit: int = parameters.get("limit", MAX_PAGE)
    after = paging.decode_number(parameters["after"]) if "after" in parameters else 0
    state = None if status is None else _STATE[status]
    services = request.services
    page = await queued.list_page(services.database, system_id, state, after, limit + 1)
    pauses = await delivery_pauses.list_pauses(services.database, services.now(), system_id)

    response = await asyncio.to_thread(_write_page, page[:limit], pauses)
    if len(page) > limit:
        filters = "" if status is None else f"&status={status}"
        position = f"limit={limit}&after={paging.encode_number(page[limit - 1].number)}"
        path = f"/v1/abonnement/beskeder?{SYSTEM}={system_id}{filters}&{position}"
        response.headers["Link"] = f'<{path}>; rel="next"'
    return response


async def genfremsend_beskeder(request: Request) -> Response:
    """Replay parked and waiting messages of a system."""
    body = request.body if isinstance(request.body, dict) else {}
    system_id = authorise_system(request, body.get(SYSTEM))
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # The property is required, so it is present without violations.
    services = request.services
    ids = list(dict.fromkeys(id_.lower() for id_ in body["leveringIds"]))
    entry = build_entry(request, system_id, "call", "changed")
    replayed = await queued.replay(services.database, ids, entry)
    request.call.is_recorded = bool(replayed)
    services.wake_worker()
    others = [id_ for id_ in ids if id_ not in replayed]
    reasons = await queued.list_not_replayed(services.database, others, entry.time, system_id)
    not_replayed = [_write_not_replayed(reasons[id_]) for id_ in others]
    return replies.ok({"genfremsendt": len(replayed), "ikkeParkerede": others, "ikkeGenfremsendte": not_replayed})


async def send_testbesked(request: Request) -> Response:
    """Send a test message to one subscription of a system."""
    body = request.body if isinstance(request.body, dict) else {}
    system_id = authorise_system(request, body.get(SYSTEM))
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # The property is required, so it is present without violations.
    services = request.services
    event = Event(
        id=services.new_id(),
        entity_type=body["entityType"],
        org_type=body["orgType"],
        org_code=body["orgCode"],
        change=CREATED,
        created=services.now(),
        external_id=NO_OBJECT,
        body={"testbesked": True},
    )
    publication = Publication(event, request.caller.name, request.request_id, request.trace_parent)
    test_event = TrialEvent(publication, system_id, services.new_id())
    await queued.publish_test(services.database, test_event, build_entry(request, system_id, "call", "answered"))
    request.call.is_recorded = True
    services.wake_worker()
    return replies.accepted({"beskedId": event.id, "leveringId": test_event.delivery_id})


def _write_not_replayed(delivery: NotReplayed) -> dict[str, Any]:
    return {
        "leveringId": delivery.id,
        "hindring": delivery.obstacle,
        "optagetTil": None if delivery.until is None else write_time(delivery.until),
        "blokeretAf": delivery.blocked_by,
    }


def _write_page(page: list[QueuedDelivery], pauses: list[DeliveryPause]) -> Response:
    return replies.ok({"beskeder": [_write(item, pauses) for item in page]})


def _write(item: QueuedDelivery, pauses: list[DeliveryPause]) -> dict[str, Any]:
    pause = find_pause(pauses, item.system_id, Identity(item.org_type, item.org_code, item.entity_type))
    # While a worker has claimed the delivery, its due time is the end of the lease.
    next_attempt = None if item.is_held else item.due
    if pause is not None and next_attempt is not None:
        next_attempt = None if pause.until is None else max(next_attempt, pause.until)
    return {
        "leveringId": item.id,
        "beskedId": item.event_id,
        "orgType": item.org_type,
        "orgCode": item.org_code,
        "entityType": item.entity_type,
        "webhookUrl": item.webhook_url,
        "status": STATUS[item.state],
        "forsoeg": item.attempts,
        "oprettet": write_time(item.created),
        "naesteForsoeg": None if next_attempt is None else write_time(next_attempt),
        "aarsag": item.reason,
        "httpStatus": item.status,
        "aarsagTekst": item.detail,
        "blokeretAf": item.blocked_by,
        "pauseretSiden": None if pause is None else write_time(pause.since),
        "pauseretTil": None if pause is None or pause.until is None else write_time(pause.until),
    }
