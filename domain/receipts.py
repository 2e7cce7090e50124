"""Receipts: proof that a receiver accepted a delivery (decision 0028)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt before the one that was accepted, without the response. `status` is None if there was none."""

    number: int
    time: datetime
    milliseconds: int
    status: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a delivery. `id` is that of the delivery, and `webhook_url` the path that was called.

    Receipts are sealed in the audit in the order of their `number`.

    `accepted` is when the event was published. `status` and `milliseconds` are those of the last attempt. `hash` is the
    SHA-256 of the body that was sent, in hexadecimal. Of many failures, the first and the latest are kept.
    """

    number: int
    id: str
    event_id: str
    system_id: str
    org_type: int
    org_code: int
    entity_type: int
    webhook_url: str
    accepted: datetime
    first_attempt: datetime
    last_attempt: datetime
    attempts: int
    status: int
    milliseconds: int
    hash: str
    failures: tuple[FailedAttempt, ...] = ()
