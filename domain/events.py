"""Events: things that happened and that are delivered to subscribers (webservicebesked)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_BODY_BYTES = 65_536
"""Maximum size of an event's body, as compact JSON in UTF-8."""

NO_OBJECT = "00000000-0000-0000-0000-000000000000"
"""The eksternIdentifier that publishers send when the event refers to no object."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was published. `change` is 1 (created), 2 (updated) or 3 (deleted).

    `identification_type` and `identification` identify a person or an organisation; both or neither are set. Type 1 is
    a CPR number.
    """

    id: str
    entity_type: int
    org_type: int
    org_code: int
    change: int
    created: datetime
    external_id: str | None = None
    version: str | None = None
    identification_type: int | None = None
    identification: str | None = None
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EventStatus:
    """The numbers of deliveries of an event by state, and the orgType and orgCode of the event.

    `paused` is the part of `waiting` whose deliveries are paused.
    """

    org_type: int
    org_code: int
    delivered: int
    waiting: int
    parked: int
    paused: int = 0


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as operators see it, without what may be personal data. `subscriptions` is how many received it.

    `publisher` is the name of the caller, and `request_id` that of its request, `-` without one.
    """

    id: str
    created: datetime
    entity_type: int
    type_name: str | None
    org_type: int
    org_code: int
    subscriptions: int
    publisher: str
    request_id: str


def is_too_large(body: Mapping[str, Any]) -> bool:
    """Return whether a body exceeds the maximum size."""
    return len(_to_json(body).encode()) > MAX_BODY_BYTES


def contains_nul(body: Mapping[str, Any]) -> bool:
    """Return whether a body contains U+0000, in a value or in a name."""
    return _NUL.search(_to_json(body)) is not None


def build_order_key(event: Event) -> str | None:
    """Return the key of events that a subscriber must receive in order, or None for an event without order.

    The key is the person or organisation, otherwise the object that the event refers to. It is hashed, so that the
    index contains no personal numbers. Source: docs/explanation/delivery-guarantees.md.
    """
    if event.identification_type is not None and event.identification is not None:
        named = f"id:{event.identification_type}:{event.identification}"
    elif event.external_id is not None and event.external_id != NO_OBJECT:
        named = f"object:{event.external_id}"
    else:
        return None
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def write_content(event: Event) -> str:
    """Return an event without id and time, with the contract's names. Equal events have equal texts."""
    content = {
        "entityType": event.entity_type,
        "orgType": event.org_type,
        "orgCode": event.org_code,
        "aendringstype": event.change,
        "eksternIdentifier": event.external_id,
        "versionIdentifier": event.version,
        "identifikationstypeId": event.identification_type,
        "identifikation": event.identification,
        "body": event.body,
    }
    present = {name: value for name, value in content.items() if value is not None}
    return _to_json(present)


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped U+0000 in JSON: the backslash of the escape is not itself escaped."""
