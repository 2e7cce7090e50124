"""Deliveries: one event on its way to one subscription; the meaning of responses, and the retry schedule.

Source: decision 0011, and STAR's formula for the time between attempts.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from http import HTTPStatus
from typing import NamedTuple, assert_never

from domain.catalogue import StaticHeader, TokenClient

LONGEST_WAIT = 10_800
"""Maximum seconds between two attempts."""

JITTER = 0.1
"""Maximum random change of a wait in either direction, as a fraction of the wait."""

MAX_STORED_RESPONSE = 1024
"""Maximum bytes of a response that are stored."""

MAX_ATTEMPTS = 20
"""Maximum stored attempts per delivery after the first one. Older attempts are deleted."""


class DeliveryState(StrEnum):
    """The state of a delivery on the queue. Delivered ones are removed from the queue."""

    WAITING = "waiting"
    PARKED = "parked"


class Urgency(IntEnum):
    """The reason for sending a delivery before others, highest first. The database stores these numbers."""

    REPLAY = 1
    TEST = 2


class Target(NamedTuple):
    """The destination whose failures delay its other deliveries: a system and a path below its base URL."""

    system_id: str
    webhook_url: str


class AttemptOutcome(StrEnum):
    """The outcome of an attempt."""

    DONE = "done"
    AGAIN = "again"
    PARK = "park"


class Reason(StrEnum):
    """The reason why an attempt failed. `http` is any response other than 2xx, except a 401 that rejects our token."""

    HTTP = "http"
    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    LOST = "lost"
    GARBAGE = "garbage"
    ADDRESS = "address"
    SETUP = "setup"
    TOKEN = "token"  # noqa: S105  # The name of a reason.


@dataclass(frozen=True, slots=True)
class Receiver:
    """A system as a receiver of deliveries. Files and secrets are references, as in the catalogue."""

    system_id: str
    base_url: str
    webhook_secrets: tuple[str, ...] = ()
    allow_private_addresses: bool = False
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    headers: tuple[StaticHeader, ...] = ()
    oauth2: TokenClient | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that a worker has claimed, with everything needed to send it. `number` is its position in the queue.

    `content` is the event as written by `domain.events.write_content`. `attempts` is the number of previous attempts.
    `request_id` and `trace_parent` (W3C Trace Context) belong to the request that published the event.
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
class ReceiverResponse:
    """The result of an attempt. `status` is None without a response; `body` is the beginning of the body.

    `retry_after` is the delay that the receiver requests, in seconds. `detail` explains to operators why there is no
    response. `request_hash` is the SHA-256 of the body of the request, if the receiver accepted it.
    """

    status: int | None
    reason: Reason | None
    body: str = ""
    retry_after: float | None = None
    detail: str = ""
    # Not compared: two requests may get the same response.
    request_hash: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DeliveredRequest:
    """The request that a receiver accepted: its path below the base URL, and the SHA-256 of its body in hexadecimal."""

    webhook_url: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as it is stored. `milliseconds` is its duration.

    `answer` is the beginning of the response body. Without a response (`status` is None) it is the error.
    """

    number: int
    time: datetime
    milliseconds: int
    status: int | None
    reason: Reason | None
    answer: str


class Obstacle(StrEnum):
    """The reason why a delivery cannot be replayed now."""

    UNKNOWN = "unknown"
    UNDER_WAY = "underWay"
    BLOCKED = "blocked"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A delivery that was not replayed. `until` is when its lease ends; `blocked_by` must be delivered first."""

    id: str
    obstacle: Obstacle
    until: datetime | None = None
    blocked_by: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """A delivery on the queue. `number` is its position.

    `due` is the time of the next attempt; it is None for parked deliveries and for those that wait for another one of
    the same key. While a worker holds the delivery (`is_held`), `due` is the end of the lease. `attempts` counts
    finished attempts; `reason`, `status` and `detail` describe the last one. `detail` explains to operators why there
    was no response. `blocked_by` is the id of the delivery of the same key that must be delivered first.
    """

    number: int
    id: str
    event_id: str
    system_id: str
    org_type: int
    org_code: int
    entity_type: int
    webhook_url: str
    state: DeliveryState
    attempts: int
    created: datetime
    due: datetime | None
    is_held: bool
    reason: Reason | None
    status: int | None
    detail: str | None = None
    blocked_by: str | None = None


def decide_outcome(answer: ReceiverResponse) -> AttemptOutcome:
    """Return the outcome of an attempt.

    2xx is success. 408, 425, 429, 5xx and a missing response are retried, and so is a 401 that rejects our access
    token, since it says nothing about the delivery. All other responses park the delivery, and so does a forbidden
    address.
    """
    if answer.status is None:
        return _decide_without_response(answer.reason)
    if answer.reason is Reason.TOKEN:
        return AttemptOutcome.AGAIN
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return AttemptOutcome.DONE
    if answer.status in _RETRIED_STATUSES or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return AttemptOutcome.AGAIN
    return AttemptOutcome.PARK


def _decide_without_response(reason: Reason | None) -> AttemptOutcome:
    match reason:
        case Reason.ADDRESS:
            return AttemptOutcome.PARK
        case (
            Reason.NAME
            | Reason.CONNECT
            | Reason.TLS
            | Reason.TIMEOUT
            | Reason.LOST
            | Reason.GARBAGE
            | Reason.SETUP
            | Reason.TOKEN
            | Reason.HTTP
            | None
        ):
            return AttemptOutcome.AGAIN
        case _ as unreachable:
            assert_never(unreachable)


def determine_state_after(outcome: AttemptOutcome) -> DeliveryState | None:
    """Return the state of a delivery after an attempt, None if it leaves the queue."""
    match outcome:
        case AttemptOutcome.DONE:
            return None
        case AttemptOutcome.AGAIN:
            return DeliveryState.WAITING
        case AttemptOutcome.PARK:
            return DeliveryState.PARKED
        case _ as unreachable:
            assert_never(unreachable)


_RETRIED_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def retry_delay(failures: int, chance: float, retry_after: float | None = None) -> timedelta:
    """Return the wait before the next attempt, after this number of consecutive failures (1 is the first).

    `chance` is between 0 and 1 and adds jitter. A longer `retry_after` (seconds) takes precedence.
    """
    seconds = min(float(LONGEST_WAIT), 2.0 ** min(failures, 30) - 1)
    seconds *= 1 + JITTER * (2 * chance - 1)
    return timedelta(seconds=min(float(LONGEST_WAIT), max(seconds, retry_after or 0)))
