"""Deliveries: one event on its way to one subscription; what an answer means, and when to try again.

Source: the design, "Delivery", and STAR's own formula for the time between attempts.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from http import HTTPStatus
from typing import NamedTuple

LONGEST_WAIT = 10_800
"""Seconds between two attempts, at most."""

JITTER = 0.1
"""By what part of itself a wait is made longer or shorter, at most."""

MAX_ANSWER = 1024
"""Bytes of an answer that are kept."""

MAX_ATTEMPTS = 20
"""Attempts of one delivery that are kept: the latest ones."""


class State(StrEnum):
    """Where a delivery stands. One that has arrived is gone."""

    WAITING = "waiting"
    PARKED = "parked"


class Urgency(IntEnum):
    """Why a delivery goes before others. The numbers are those of the database."""

    REPLAY = 1
    TEST = 2


class Target(NamedTuple):
    """What can be slow or dead: a system and the path below its base URL."""

    system_id: str
    webhook_url: str


class Outcome(StrEnum):
    """What came of an attempt."""

    DONE = "done"
    AGAIN = "again"
    PARK = "park"


class Reason(StrEnum):
    """Why an attempt failed; an answer has the reason `http`, and its status says more."""

    HTTP = "http"
    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    LOST = "lost"
    GARBAGE = "garbage"
    ADDRESS = "address"
    SETUP = "setup"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a system takes events, and how it is called. Files and secrets are references of the catalogue."""

    system_id: str
    base_url: str
    webhook_secrets: tuple[str, ...] = ()
    allow_private_addresses: bool = False
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that a worker holds: what is to be sent where. `number` is its place in the queue.

    `content` is the event as `domain.events.write_content` wrote it; `attempts` are those made before. `request_id` and
    `trace_parent` (W3C Trace Context) are those of the request that published the event.
    """

    number: int
    id: str
    receiver: Receiver
    webhook_url: str
    event_id: str
    entity_name: str | None
    created: datetime
    content: str
    attempts: int
    request_id: str | None = None
    trace_parent: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an attempt met. `status` is None where no answer came; `body` is its beginning.

    `retry_after` is how many seconds the receiver asks to be left alone. `detail` says for operators what went wrong
    where no answer came.
    """

    status: int | None
    reason: Reason | None
    body: str = ""
    retry_after: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as it is stored. `milliseconds` is how long it took.

    `answer` is the beginning of the response body; without a response (`status` is None) it says what went wrong.
    """

    number: int
    time: datetime
    milliseconds: int
    status: int | None
    reason: Reason | None
    answer: str


class Obstacle(StrEnum):
    """Why a delivery cannot be sent again now."""

    UNKNOWN = "unknown"
    UNDER_WAY = "underWay"
    BLOCKED = "blocked"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Left:
    """A delivery that is not sent again. `until` is when the lease of its worker ends; `blocked_by` goes first."""

    id: str
    obstacle: Obstacle
    until: datetime | None = None
    blocked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery on the queue. `number` is its place there.

    `due` is when it may go, None while it is parked or another one of its key goes first; while `is_held` a worker has
    it, until then. `attempts` are those that ended; `reason`, `status` and `detail` are of the last one. `detail` says
    for operators what went wrong where no answer came. `blocked_by` is the id of the delivery of the same key that
    goes first.
    """

    number: int
    id: str
    event_id: str
    system_id: str
    org_type: int
    org_code: int
    entity_type: int
    webhook_url: str
    state: State
    attempts: int
    created: datetime
    due: datetime | None
    is_held: bool
    reason: Reason | None
    status: int | None
    detail: str | None = None
    blocked_by: str | None = None


def outcome_of(answer: Answer) -> Outcome:
    """What is to become of a delivery.

    2xx is done; silence, 408, 425, 429 and 5xx come again; every other answer, and an address that may not be called,
    parks it.
    """
    if answer.status is None:
        return Outcome.PARK if answer.reason is Reason.ADDRESS else Outcome.AGAIN
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.DONE
    if answer.status in _COME_AGAIN or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Outcome.AGAIN
    return Outcome.PARK


_COME_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def wait_after(failures: int, chance: float, retry_after: float | None = None) -> timedelta:
    """How long to wait after so many failures in a row, the first counted as 1.

    `chance` is from 0 to 1 and spreads the waits of many. What the receiver asks for counts if it is longer.
    """
    seconds = min(float(LONGEST_WAIT), 2.0 ** min(failures, 30) - 1)
    seconds *= 1 + JITTER * (2 * chance - 1)
    return timedelta(seconds=min(float(LONGEST_WAIT), max(seconds, retry_after or 0)))
