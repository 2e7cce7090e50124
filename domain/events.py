"""Events: one thing that happened, told to subscribers (a webservicebesked)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_BODY_BYTES = 65_536
"""Of an event's body, as compact JSON in UTF-8."""

NO_OBJECT = "00000000-0000-0000-0000-000000000000"
"""What publishers write as eksternIdentifier when there is nothing to point at."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a publisher says. `change` is 1 (created), 2 (updated) or 3 (deleted).

    `identification_type` and `identification` name a person or an organisation, both or neither; type 1 is a CPR
    number.
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


def is_too_large(body: Mapping[str, Any]) -> bool:
    """Whether a body is more than events carry."""
    return len(_to_json(body).encode()) > MAX_BODY_BYTES


def holds_nul(body: Mapping[str, Any]) -> bool:
    """Whether U+0000 stands anywhere in a body, be it in a name."""
    return _NUL.search(_to_json(body)) is not None


def order_key(event: Event) -> str | None:
    """What events have in common that must reach a subscriber one after the other; None for one without order.

    The person or organisation, else the object that it points at. A hash, so that no number of a person stands in an
    index. Source: the design, "Delivery".
    """
    if event.identification_type is not None and event.identification is not None:
        named = f"id:{event.identification_type}:{event.identification}"
    elif event.external_id is not None and event.external_id != NO_OBJECT:
        named = f"object:{event.external_id}"
    else:
        return None
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def write_content(event: Event) -> str:
    """What an event says beside its id and its time, in the words of the contract: the same text for the same event."""
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
    said = {name: value for name, value in content.items() if value is not None}
    return _to_json(said)


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it: an escape whose backslash is not itself escaped."""
