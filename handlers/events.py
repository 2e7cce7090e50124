"""The operations of spec/subscriptions.yaml that publish an event, and return its status."""

from typing import Any

from starlette.responses import Response

from domain.errors import EventNotFound, PublicationForbidden, RefusalReason, UnknownType, Violation
from domain.events import MAX_BODY_BYTES, Event, contains_nul, is_too_large
from domain.tracing import SpanKind, trace_work
from handlers.errors.error_list_texts import build_contract_violation, build_unknown_type_violation
from handlers.errors.error_lists import InvalidEntries
from handlers.requests import Request
from openapi import replies
from persistence import events as stored
from persistence import outbox
from persistence.outbox import Publication


async def opret_besked(request: Request) -> Response:
    """Accept an event, and return the number of subscriptions that receive it."""
    services, body = request.services, request.body
    _authorise_publication(request)
    if request.is_clean("body") and "body" in body:
        request.violations += _check_body(body["body"])
    if request.violations:
        if request.is_clean("entityType") and not await outbox.is_known_type(
            services.database, body["entityType"], services.now()
        ):
            request.violations.append(build_unknown_type_violation())
        raise InvalidEntries(request.violations, (), body)

    event = _build_event(request, body)
    request.log["event_id"] = event.id
    try:
        with trace_work(services.tracer, "publish event", SpanKind.PRODUCER, request.trace_parent) as work:
            work.attributes["messaging.message.id"] = event.id
            published = await outbox.publish(
                services.database, Publication(event, request.caller.name, request.request_id, work.trace_parent)
            )
            work.attributes["budkavle.subscriptions"] = published.subscriptions
    except UnknownType as exc:
        raise InvalidEntries([build_unknown_type_violation()], (), body) from exc
    services.wake_worker()
    reply = replies.accepted if published.is_new else replies.ok
    return reply({"beskedId": published.event_id, "abonnementer": published.subscriptions})


async def hent_beskedstatus(request: Request) -> Response:
    """Return how many messages of an event have been delivered, wait, are parked, or wait for the end of a pause."""
    request.raise_violations()
    event_id = request.parameters["beskedId"].lower()
    status = await stored.find_status(request.services.database, event_id, request.services.now())
    # Callers must not learn which ids exist.
    if status is None or not request.caller.may_publish(status.org_type, status.org_code):
        raise EventNotFound
    return replies.ok(
        {
            "beskedId": event_id,
            "leveret": status.delivered,
            "venter": status.waiting,
            "parkeret": status.parked,
            "pauseret": status.paused,
        }
    )


def _authorise_publication(request: Request) -> None:
    """Raise `PublicationForbidden` if the caller may not publish events of the orgType and orgCode of the request.

    A request in which they are invalid is not authorised: its faults are reported instead.
    """
    if request.is_clean("orgType") and request.is_clean("orgCode"):
        org_type, org_code = request.body["orgType"], request.body["orgCode"]
        if not request.caller.may_publish(org_type, org_code):
            scope = f"publish:{org_type}:{org_code}"
            text = f"The {request.caller.kind} lacks the scope {scope}"
            raise PublicationForbidden(RefusalReason.PUBLICATION_NOT_AUTHORISED, text, scope)


def _check_body(content: dict[str, Any]) -> list[Violation]:
    """Return the violations of an event's body that a schema cannot express."""
    violations = []
    if is_too_large(content):
        violations.append(
            build_contract_violation(f"body må højst fylde {MAX_BODY_BYTES} bytes som kompakt JSON i UTF-8", "body")
        )
    if contains_nul(content):
        violations.append(build_contract_violation("body må ikke indeholde U+0000", "body"))
    return violations


def _build_event(request: Request, body: dict[str, Any]) -> Event:
    external_id = body.get("eksternIdentifier")
    return Event(
        id=body["beskedId"].lower() if "beskedId" in body else request.services.new_id(),
        entity_type=body["entityType"],
        org_type=body["orgType"],
        org_code=body["orgCode"],
        change=body["aendringstype"],
        created=request.services.now(),
        external_id=None if external_id is None else external_id.lower(),
        version=body.get("versionIdentifier"),
        identification_type=body.get("identifikationstypeId"),
        identification=body.get("identifikation"),
        body=body.get("body"),
    )
