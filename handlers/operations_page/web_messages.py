"""Messages in doubt, one message without its content, and the decision of an operator about it."""

from datetime import datetime

from starlette.responses import Response

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import Conflict, Invalid, NotFound, Violation
from domain.publications import PublicationStatus
from domain.web_messages import UNSETTLED_STATES
from handlers.operations_page.page import ROOT, Visit
from persistence import publication_decisions as decisions
from persistence import publication_statuses as stored
from persistence import web_messages

SHOWN = 100
"""Messages in doubt on their page."""

MAX_OPEN_E_ID = 2**63 - 1

OPERATION = "messages settle"
"""The operation in the audit, as that of the command."""


async def show_messages(visit: Visit) -> Response:
    """Show the messages in doubt, the oldest first."""
    database, before = visit.services.database, _compute_before(visit)
    counts = await web_messages.count_in_doubt(database, before)
    values = {
        "current": f"{ROOT}/messages",
        "messages": await stored.list_in_doubt(database, before, UNSETTLED_STATES, SHOWN),
        "total": sum(counts.values()),
        "shown": SHOWN,
        "max_counted": web_messages.MAX_COUNTED,
    }
    return visit.render("messages.html", values)


async def show_message(visit: Visit) -> Response:
    """Show the state of a message."""
    message = await _find(visit, visit.get_id())
    return visit.render("message.html", {"current": None, "message": message})


async def show_settle(visit: Visit) -> Response:
    """Ask for the confirmation of a decision about a message in doubt."""
    message = await _find(visit, visit.get_id())
    decision = _read_decision(visit.get_parameter("decision"))
    if not message.is_in_doubt:
        raise Conflict("This message is not in doubt, so there is nothing to decide.")
    values = {"current": None, "message": message, "decision": decision}
    return visit.render("settle.html", values)


async def settle(visit: Visit) -> Response:
    """Record the decision of the operator, unless the message was settled meanwhile."""
    services, message_id = visit.services, visit.get_id()
    decision = _read_decision(visit.get_parameter("decision"))
    before = _compute_before(visit)
    link = ("Back to the messages in doubt", f"{ROOT}/messages")
    if decision == "published":
        open_e_id = _read_open_e_id(visit.form.get("open_e_id", "").strip())
        entry = _build_entry(visit, "published", {} if open_e_id is None else {"openEMessageId": open_e_id})
        is_settled = await decisions.mark_found(services.database, message_id, open_e_id, services.now(), before, entry)
        services.wake_worker_for_message()
        sentence = f"Message {message_id} counts as published. Callers can read it now."
    else:
        is_settled = await decisions.mark_not_published(
            services.database, message_id, before, _build_entry(visit, "not_published", {})
        )
        sentence = (
            f"Message {message_id} is deleted here, and a key that it had is free. Ask its caller to send it again."
        )
    if is_settled:
        return visit.finish("Settled 1 message", [sentence], [link])
    return visit.finish("Nothing was changed", [await _explain_settled(visit, message_id)], [link], tone="warn")


def _build_entry(visit: Visit, outcome: str, detail: dict[str, object]) -> AuditEntry:
    return AuditEntry(
        chain=WEB_MESSAGES,
        kind="change",
        time=visit.services.now(),
        operation=OPERATION,
        caller=visit.caller,
        outcome=outcome,
        request_id=visit.request_id,
        detail=detail,
    )


async def _explain_settled(visit: Visit, message_id: str) -> str:
    status = await stored.find(visit.services.database, message_id, _compute_before(visit))
    if status is None:
        return "The message does not exist any more: it was not published, or its caller deleted it."
    return f"The message is not in doubt any more: its state is {status.state}."


async def _find(visit: Visit, message_id: str) -> PublicationStatus:
    status = await stored.find(visit.services.database, message_id, _compute_before(visit))
    if status is not None:
        return status
    if await stored.has_trace(visit.services.database, message_id):
        raise NotFound(f"Message {message_id} was deleted.")
    raise NotFound(f"There is no message with id {message_id}.")


def _read_decision(text: str) -> str:
    if text not in {"published", "not-published"}:
        raise NotFound("There is no such decision.")
    return text


def _read_open_e_id(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= MAX_OPEN_E_ID):  # noqa: PLR2004  # Digits of a 64-bit integer.
        raise Invalid([Violation("open_e_id", "must be the messageID that Open-E shows, a positive number")])
    return int(text)


def _compute_before(visit: Visit) -> datetime:
    return visit.now - visit.services.call_times.longest_call
