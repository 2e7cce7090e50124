"""The body and the URL of a delivery attempt."""

import json
from datetime import datetime
from functools import lru_cache

from yarl import URL

from domain.deliveries import ClaimedDelivery
from domain.subscriptions import write_time

ADDRESSES = 4096
"""Maximum cached URLs. Parsing one takes as long as building the rest of the payload."""

PAYLOADS = 64
"""Maximum cached payloads. An event with many subscriptions has the same one for each of them."""

# Share the encoder: `json.dumps` would create one for each delivery.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_payload(claimed: ClaimedDelivery) -> bytes:
    """Return the JSON of a delivery, identical in each attempt. Fields without a value are omitted."""
    return _write_payload(claimed.event_id, claimed.entity_name, claimed.created, claimed.content)


@lru_cache(PAYLOADS)
def _write_payload(event_id: str, entity_name: str | None, created: datetime, content: str) -> bytes:
    event = json.loads(content)
    payload = {"beskedId": event_id, "entitetId": event.pop("entityType")}
    if entity_name is not None:
        payload["entitetNavn"] = entity_name
    body = event.pop("body", None)
    payload |= event
    payload["tidspunkt"] = write_time(created)
    if body is not None:
        payload["body"] = body
    return _ENCODER.encode(payload).encode()


def build_url(claimed: ClaimedDelivery) -> URL:
    """Return the URL of a delivery: the system's base URL and the subscription's path, both exactly as configured."""
    return _parse_url(claimed.receiver.base_url, claimed.webhook_url)


@lru_cache(ADDRESSES)
def _parse_url(base_url: str, webhook_url: str) -> URL:
    # The URL is already encoded. Encoding it again would change the path that was subscribed to.
    return URL(base_url + webhook_url, encoded=True)
