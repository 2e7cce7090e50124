"""Delete messages for callers, also those in doubt, and explain which messages cannot be read."""

from contextlib import suppress

from domain.audit import WEB_MESSAGES
from domain.errors import NotFound
from handlers.audit import build_entry
from handlers.requests import Request
from persistence import publication_decisions, publications
from persistence import web_messages as stored


async def delete(request: Request, message_id: str, **detail: object) -> None:
    """Delete a message, and record its caller in the audit, with this detail. Raises `NotFound`."""
    entry = build_entry(request, WEB_MESSAGES, "change", "deleted", detail)
    try:
        await stored.delete(request.services.database, message_id, entry)
    except NotFound as exc:
        if not await _delete_unreadable(request, message_id, detail):
            raise await explain_not_found(request, message_id, exc) from exc


async def explain_not_found(request: Request, message_id: str, error: NotFound) -> NotFound:
    """Return the error for a message that cannot be read: the given one, unless the message is in doubt."""
    if not await publications.is_unsettled(request.services.database, message_id):
        return error
    return NotFound(f"WebMessage with id '{message_id}' is in doubt: it is not known yet whether Open-E published it")


async def _delete_unreadable(request: Request, message_id: str, detail: dict[str, object]) -> bool:
    """Delete a message that is in doubt, or was until a moment ago. Return False if there is none."""
    services = request.services
    if await publications.is_unsettled(services.database, message_id):
        remark = {"remark": "the case in Open-E may have the message"}
        entry = build_entry(request, WEB_MESSAGES, "change", "deleted_in_doubt", remark | detail)
        before = entry.time - services.call_times.longest_call
        if await publication_decisions.delete_in_doubt(services.database, message_id, before, entry):
            return True
    entry = build_entry(request, WEB_MESSAGES, "change", "deleted", detail)
    with suppress(NotFound):
        # It has become readable since the first attempt.
        await stored.delete(services.database, message_id, entry)
        return True
    return False
