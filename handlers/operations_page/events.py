"""One event: who published it, and where it has arrived."""

from starlette.responses import Response

from domain.errors import NotFound
from handlers.operations_page.page import Visit
from persistence import deliveries, receipts, systems
from persistence import events as stored
from persistence.receipts import ReceiptFilter

SHOWN = 100
"""Undelivered deliveries, and receipts, on the page of an event."""


async def show_event(visit: Visit) -> Response:
    """Show an event without its content, with its deliveries and receipts."""
    database, event_id = visit.services.database, visit.get_id()
    event = await stored.find(database, event_id)
    status = await stored.find_status(database, event_id, visit.now)
    if status is None:
        raise NotFound(f"There is no event with id {event_id}. Events are removed some time after they were delivered.")
    values = {
        "current": None,
        "event_id": event_id,
        "event": event,
        "status": status,
        "items": await deliveries.list_of_event(database, event_id, SHOWN),
        "receipts": await receipts.list_page(database, ReceiptFilter(event_id=event_id), None, SHOWN),
        "names": {each.id: each.name for each in await systems.list_all(database)},
        "shown": SHOWN,
    }
    return visit.render("event.html", values)
