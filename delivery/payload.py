"""The body and the URL of a delivery attempt."""

import json
from functools import lru_cache

from yarl import URL

from domain.deliveries import ClaimedDelivery
from domain.subscriptions import write_time

ADDRESSES = 4096
"""Maximum cached URLs. Parsing one takes as long as building the rest of the payload."""

# Share the encoder: `json.dumps` would create one for each delivery.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_payload(claimed: ClaimedDelivery) -> bytes:
    """Return the JSON of a delivery, identical in each attempt. Fields without a value are omitted."""
    event = json.loads(claimed.content)
    payload = {"beskedId": claimed.event_id, "entitetId": event.pop("entityType")}
    if claimed.entity_name is not None:
        payload["entitetNavn"] = claimed.entity_name
    body = event.pop("body", None)
    payload |= event
    payload["tidspunkt"] = write_time(claimed.created)
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
