"""Search by id: for a delivery, an event, a message or a system, or for everything that one request stored."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog
from starlette.responses import Response

from domain.audit import ChainedEntry
from domain.errors import NotFound, StorageFailed
from domain.events import EventStatus, StoredEvent
from domain.publications import PublicationStatus
from domain.time_ranges import TimeRange
from handlers.operations_page import texts
from handlers.operations_page.page import ROOT, Visit
from persistence import audit, deliveries, events, publication_statuses, receipts, systems
from persistence.receipts import ReceiptFilter

SHOWN = 20
"""Messages, events and entries of a request that are shown."""

RANGES = {
    "1d": (timedelta(days=1), "the last 24 hours"),
    "7d": (timedelta(days=7), "the last 7 days"),
    "all": (None, "everything"),
}
"""The times that a search for a request covers, shortest first. Requests have no index, so all of them are read."""

AROUND = timedelta(hours=1)
"""The times before and after a known moment that are searched."""

NO_REQUEST = "-"
"""The request id of entries without a request."""

_SECONDS = re.compile("[0-9]{1,11}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger("budkavle.operations_page")


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Messages, events and audit entries of one request."""

    messages: list[PublicationStatus]
    events: list[StoredEvent]
    entries: list[ChainedEntry]

    def is_empty(self) -> bool:
        """Return whether nothing was found."""
        return not (self.messages or self.events or self.entries)


@dataclass(frozen=True, slots=True)
class Hit:
    """A result of a search: its kind and the address of its page."""

    kind: str
    address: str


async def search(visit: Visit) -> Response:
    """Redirect to the page of an id, or of a request. If several things have the id, list them."""
    given = visit.query.get("id", "").strip()
    wanted = given.lower() if texts.is_uuid(given.lower()) else given
    hits = await _find_by_uuid(visit, wanted) if texts.is_uuid(wanted) else []
    if len(hits) == 1:
        return visit.redirect(hits[0].address)
    if not hits and is_request(given):
        return visit.redirect(f"{ROOT}/requests/{given}")
    return visit.render("search.html", {"current": f"{ROOT}/search", "searched": given, "hits": hits})


async def show_request(visit: Visit) -> Response:
    """Show what one request stored in a range of times: messages, events with their deliveries, audit entries."""
    request_id = visit.get_parameter("id")
    if not is_request(request_id):
        raise NotFound("This is not the id of a request: those have at most 46 letters, digits and . _ : -")
    times, searched = _read_times(visit)
    try:
        trace = await _trace(visit, request_id, times)
    except StorageFailed as exc:
        log.warning("request_search_failed", request_id=visit.request_id, reason=exc.reason)
        trace, searched = (
            RequestTrace([], [], []),
            f"{searched}, until the database stopped it: try a shorter time",
        )
    database = visit.services.database
    statuses: dict[str, EventStatus | None] = {}
    for event in trace.events:
        statuses[event.id] = await events.find_status(database, event.id, visit.now)
    values = {
        "current": None,
        "request_id": request_id,
        "trace": trace,
        "times": searched,
        "wider": _list_wider(visit, request_id),
        "statuses": statuses,
        "items": [each for event in trace.events for each in await deliveries.list_of_event(database, event.id, SHOWN)],
        "receipts": [
            each
            for event in trace.events
            for each in await receipts.list_page(database, ReceiptFilter(event_id=event.id), None, SHOWN)
        ],
        "names": {each.id: each.name for each in await systems.list_all(database)},
        "shown": SHOWN,
    }
    return visit.render("request.html", values, HTTPStatus.NOT_FOUND if trace.is_empty() else HTTPStatus.OK)


def is_request(text: str) -> bool:
    """Return whether a text may be the id of a request."""
    return texts.is_request_id(text) and text != NO_REQUEST


def _read_times(visit: Visit) -> tuple[TimeRange, str]:
    """Return the times to search, and their description. Raises `NotFound`."""
    near = visit.query.get("near")
    if near is not None:
        if not _SECONDS.fullmatch(near):
            raise NotFound("There is no such time.")
        moment = max(datetime.fromtimestamp(int(near), UTC), _EPOCH + AROUND)
        return TimeRange(moment - AROUND, moment + AROUND), f"within an hour of {texts.write_time(moment)}"
    name = visit.query.get("since", "1d")
    if name not in RANGES:
        raise NotFound("There is no such range of times.")
    length, words = RANGES[name]
    return TimeRange(None if length is None else visit.now - length), words


def _list_wider(visit: Visit, request_id: str) -> list[tuple[str, str]]:
    """Return the words and addresses of the longer searches."""
    names = list(RANGES)
    given = visit.query.get("since", "1d")
    start = 0 if "near" in visit.query else names.index(given) + 1
    return [
        (f"Search {RANGES[name][1]}", texts.build_address(f"{ROOT}/requests/{request_id}", since=name))
        for name in names[start:]
    ]


async def _trace(visit: Visit, request_id: str, times: TimeRange) -> RequestTrace:
    database = visit.services.database
    before = visit.now - visit.services.call_times.longest_call
    return RequestTrace(
        await publication_statuses.list_of_request(database, request_id, times, before, SHOWN),
        await events.list_of_request(database, request_id, times, SHOWN),
        await audit.list_of_request(database, request_id, times, SHOWN),
    )


async def _find_by_uuid(visit: Visit, wanted: str) -> list[Hit]:
    database = visit.services.database
    hits = []
    try:
        await deliveries.get(database, wanted)
        hits.append(Hit("Delivery", f"{ROOT}/deliveries/{wanted}"))
    except NotFound:
        if await receipts.find(database, wanted) is not None:
            hits.append(Hit("Delivery", f"{ROOT}/deliveries/{wanted}"))
    if await events.find_status(database, wanted, visit.now) is not None:
        hits.append(Hit("Event", f"{ROOT}/events/{wanted}"))
    if await publication_statuses.find(database, wanted, visit.now) is not None:
        hits.append(Hit("Message", f"{ROOT}/messages/{wanted}"))
    if await systems.find(database, wanted) is not None:
        hits.append(Hit("System", f"{ROOT}/systems/{wanted}"))
    return hits
