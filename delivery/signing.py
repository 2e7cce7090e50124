"""Sign deliveries as specified by Standard Webhooks 1.0, so that receivers can verify them with its libraries."""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"


class NotASecret(ValueError):
    """The text is not base64 (with or without the prefix `whsec_`), or it is empty."""


def read_secret(text: str) -> bytes:
    """Return the key in a text such as `whsec_MfKQ…`. Surrounding white space is ignored.

    Raises `NotASecret`, whose message does not contain the text.
    """
    encoded = text.strip().removeprefix(PREFIX)
    try:
        # The libraries of the standard accept secrets without padding, and some systems issue such secrets.
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # Drop the cause: its message contains the text if that is not ASCII.
        raise NotASecret from None
    if not key:
        raise NotASecret
    return key


def build_signature_headers(delivery_id: str, now: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of one attempt: id, time, and one signature per key in the given order.

    The id is that of the delivery, so that the receiver can deduplicate. Without keys there is no signature.
    """
    timestamp = str(int(now.timestamp()))
    headers = {"webhook-id": delivery_id, "webhook-timestamp": timestamp}
    if keys:
        signed = b"%b.%b.%b" % (delivery_id.encode(), timestamp.encode(), body)
        headers["webhook-signature"] = " ".join(
            f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys
        )
    return headers
