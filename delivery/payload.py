"""What one attempt sends, and where to."""

import json
from functools import lru_cache

from yarl import URL

from domain.deliveries import Claimed
from domain.subscriptions import write_time

ADDRESSES = 4096
"""How many addresses are remembered: reading one costs as much as the rest of the payload."""

# `json.dumps` would make one for each delivery.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_payload(claimed: Claimed) -> bytes:
    """The JSON of a delivery, the same bytes at each attempt. What the event does not say is left out."""
    said = json.loads(claimed.content)
    payload = {"beskedId": claimed.event_id, "entitetId": said.pop("entityType")}
    if claimed.entity_name is not None:
        payload["entitetNavn"] = claimed.entity_name
    body = said.pop("body", None)
    payload |= said
    payload["tidspunkt"] = write_time(claimed.created)
    if body is not None:
        payload["body"] = body
    return _ENCODER.encode(payload).encode()


def address_of(claimed: Claimed) -> URL:
    """Where a delivery goes: the system's base URL with the subscription's path behind it, as both were written."""
    return _address(claimed.receiver.base_url, claimed.webhook_url)


@lru_cache(ADDRESSES)
def _address(base_url: str, webhook_url: str) -> URL:
    # Encoded already: another round of encoding would call another path than the one that was subscribed.
    return URL(base_url + webhook_url, encoded=True)
