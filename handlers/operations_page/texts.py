"""The words of the operations page: why a delivery has not arrived, durations, numbers and addresses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.requests import Request

from domain.deliveries import DeliveryState, NotReplayed, Obstacle, QueuedDelivery, Reason, Target
from domain.delivery_pauses import DeliveryPause, find_pause
from domain.subscriptions import Identity
from domain.web_messages import MessageState

OVERDUE = timedelta(minutes=1)
"""Workers that keep up start attempts long before they are this late, as in `persistence/queue/depth.py`."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,46}")
_NEXT = re.compile(r"/operations(/[A-Za-z0-9._:/-]*)?(\?[A-Za-z0-9=&._:%+-]*)?")

REASONS: dict[Reason, tuple[str, str]] = {
    Reason.HTTP: ("The receiver answered with an error.", "Read its answer below, or ask its operator."),
    Reason.NAME: (
        "The host name of the receiver cannot be resolved.",
        "Correct the base URL in the catalogue, or DNS.",
    ),
    Reason.CONNECT: ("The receiver accepts no connection.", "Look at the receiver, and at firewalls."),
    Reason.TLS: ("The TLS handshake failed.", "Compare certificates, ca and clientCertificate of the catalogue."),
    Reason.TIMEOUT: ("The receiver did not answer in time.", "Look at the receiver."),
    Reason.LOST: (
        "The connection ended before the answer was complete.",
        "Look at the receiver and at proxies. It may have the delivery already.",
    ),
    Reason.GARBAGE: ("The answer is not HTTP.", "Correct the base URL: it may lead to a port of another service."),
    Reason.ADDRESS: (
        "The address of the receiver may not be called.",
        "Set allowPrivateAddresses for the system, or correct the base URL. Then replay.",
    ),
    Reason.SETUP: (
        "A secret, certificate, key or CA of the catalogue cannot be read.",
        "Correct what the detail names: budkavle apply FILE --check finds all of them.",
    ),
    Reason.TOKEN: (
        "The receiver's gateway gave no access token, or rejected it.",
        "Correct oauth2 in the catalogue, or ask the operator of the gateway.",
    ),
}
"""The meaning of each reason, and the remedy, as docs/how-to/deliveries.md says."""

STATES: dict[MessageState, str] = {
    MessageState.STORED: "stored; it has no case, so it was not sent to Open-E",
    MessageState.SENDING: "being sent, or the process ended during the call",
    MessageState.UNKNOWN: "sent, but the answer of Open-E was lost",
    MessageState.PUBLISHED: "published on its case",
}
"""The meaning of the states of messages."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a delivery has not arrived: a word with a tone, sentences, and the delivery that must arrive first."""

    word: str
    tone: str
    sentences: Sequence[str]
    blocked_by: str | None = None


def explain_delivery(  # noqa: PLR0911  # One return for each cause is easiest to read.
    item: QueuedDelivery,
    pauses: Sequence[DeliveryPause],
    back_offs: Sequence[tuple[Target, datetime]],
    now: datetime,
) -> Explanation:
    """Return why a delivery has not arrived, the most specific cause first."""
    if item.state is DeliveryState.PARKED:
        return Explanation(
            "parked", "bad", ["The receiver rejected it, so it is not sent again until an operator replays it."]
        )
    if item.is_held and item.due is not None and item.due > now:
        return Explanation(
            "under way", "info", [f"A worker is sending it, until {write_time(item.due)} at the latest."]
        )
    pause = find_pause(pauses, item.system_id, Identity(item.org_type, item.org_code, item.entity_type))
    if item.blocked_by is not None:
        sentence = (
            "An earlier delivery of the same key has not arrived. Order is kept, so this one waits until that one"
        )
        return Explanation("blocked", "warn", [f"{sentence} arrives or is parked."], item.blocked_by)
    if pause is not None:
        return Explanation("paused", "warn", [describe_pause(pause)])
    failed = "Its last attempt failed. " if item.attempts else ""
    back_off = next((until for target, until in back_offs if target.webhook_url == item.webhook_url), None)
    if back_off is not None and back_off > max(now, item.due or now):
        sentence = f"{failed}The receiver keeps failing, so workers do not call it before {write_time(back_off)}."
        return Explanation("backing off", "warn", [sentence])
    if item.due is None:
        sentence = "The earlier delivery that it waited for has left the queue. A worker sends it soon."
        return Explanation("waiting", "info", [sentence])
    if item.due > now:
        moment = f" at {write_time(item.due)}"
        return Explanation("waiting", "warn" if item.attempts else "info", [f"{failed}The next attempt is{moment}."])
    if now - item.due > OVERDUE:
        sentence = f"It was due {describe_age(now, item.due)} ago: no worker runs, or too few. Look at the workers."
        return Explanation("overdue", "bad", [sentence])
    return Explanation("due", "info", [f"{failed}A worker sends it now."])


def describe_pause(pause: DeliveryPause) -> str:
    """Return what a pause holds back, who ordered it, and when it ends."""
    what = (
        "Deliveries of this system"
        if pause.identity is None
        else f"Deliveries of subscription {write_identity(pause.identity)}"
    )
    end = "until an operator resumes them" if pause.until is None else f"until {write_time(pause.until)}"
    return f"{what} are paused {end}. {pause.operator} paused them at {write_time(pause.since)}."


def describe_failure(item: QueuedDelivery) -> tuple[str, str] | None:
    """Return what went wrong in the last attempt and what to do about it, or None without a failed attempt."""
    if item.reason is None:
        return None
    cause, remedy = REASONS[item.reason]
    if item.reason is Reason.HTTP and item.status is not None:
        cause = f"The receiver answered {describe_status(item.status)}."
    return cause, remedy


def describe_status(status: int) -> str:
    """Return an HTTP status with its name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def explain_not_replayed(unchanged: NotReplayed) -> str:
    """Return why a delivery was not replayed."""
    match unchanged.obstacle:
        case Obstacle.UNKNOWN:
            return "It is no longer on the queue: it may have arrived."
        case Obstacle.UNDER_WAY:
            until = "" if unchanged.until is None else f" until {write_time(unchanged.until)} at the latest"
            return f"A worker is sending it{until}."
        case Obstacle.BLOCKED:
            return f"It is blocked by {unchanged.blocked_by}, an earlier delivery of the same key."
        case Obstacle.LOCKED:
            return "Another transaction is changing it. Try again."


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 delivery`, `2,000 deliveries`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def describe_age(now: datetime, moment: datetime) -> str:
    """Return how long ago a moment was, in its largest unit: `3 minutes`."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return count(seconds // size, name)
    return count(seconds, "second")


def write_time(moment: datetime) -> str:
    """Return a moment in UTC, as text within a sentence."""
    return f"{moment:%-d %b %Y, %H:%M:%S} UTC"


def write_identity(identity: Identity) -> str:
    """Return a subscription as commands name it: orgType/orgCode/entityType."""
    return "/".join(map(str, identity))


def build_request_address(request_id: str, moment: datetime) -> str:
    """Return the address of what a request stored near a moment."""
    return build_address(f"/operations/requests/{request_id}", near=int(moment.timestamp()))


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    """Return whether a text has the form of a request id."""
    return _REQUEST_ID.fullmatch(text) is not None


def build_address(path: str, **query: object) -> str:
    """Return an address with a query, without values that are None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def write_next(request: Request) -> str | None:
    """Return the address to go to after the sign-in, if it is one that a page of this service links."""
    query = request.scope["query_string"].decode("latin-1")
    address = f"{request.scope['path']}?{query}" if query else request.scope["path"]
    return address if request.method in {"GET", "HEAD"} and is_next(address) else None


def is_next(address: str) -> bool:
    """Return whether an address is within the operations page."""
    return _NEXT.fullmatch(address) is not None and len(address) < 500  # noqa: PLR2004  # Longer than any address here.
