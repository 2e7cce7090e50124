"""Events that are sent to operators by a webhook: what happened to a system (`spec/operator-events.yaml`)."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from domain.subscriptions import Identity

MAX_PARKED = 10_000
"""Parked deliveries are counted up to this number."""


class OperatorEventType(StrEnum):
    """The type of an operator event, as it is published."""

    FAILING = "system.failing"
    RECOVERED = "system.recovered"
    PARKED = "deliveries.parked"
    PAUSED = "deliveries.paused"
    RESUMED = "deliveries.resumed"


@dataclass(frozen=True, slots=True)
class OperatorEvent:
    """An event about a system, or about one of its subscriptions. It has neither content nor a person.

    `since` is when the failures or the pause began, `until` the end of the pause.
    """

    id: str
    type: OperatorEventType
    system_id: str
    created: datetime
    identity: Identity | None = None
    since: datetime | None = None
    until: datetime | None = None


def write_operator_event(event: OperatorEvent, system_name: str | None, parked: int | None) -> bytes:
    """Return the JSON of an event. `parked` is the present number of parked deliveries. Absent values are omitted."""
    identity = event.identity
    data = {
        "systemId": event.system_id,
        "systemName": system_name,
        "subscription": None
        if identity is None
        else {"orgType": identity.org_type, "orgCode": identity.org_code, "entityType": identity.entity_type},
        "since": None if event.since is None else _write_time(event.since),
        "until": None if event.until is None else _write_time(event.until),
        "parked": parked,
    }
    body = {
        "type": str(event.type),
        "timestamp": _write_time(event.created),
        "data": {name: value for name, value in data.items() if value is not None},
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _write_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
