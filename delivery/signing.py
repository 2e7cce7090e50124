"""Signatures by Standard Webhooks 1.0: receivers check them with the libraries of that standard."""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"


class NotASecret(ValueError):
    """The text is not base64, with or without `whsec_` before it, or it is empty."""


def read_secret(text: str) -> bytes:
    """The key that a text like `whsec_MfKQ…` holds; spaces and line breaks around it do not count.

    Raises `NotASecret`, which does not repeat the text.
    """
    encoded = text.strip().removeprefix(PREFIX)
    try:
        # The standard's own libraries take secrets without padding, so some issue them so.
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # Neither the cause: a text that is not ASCII stands in it.
        raise NotASecret from None
    if not key:
        raise NotASecret
    return key


def signature_headers(delivery_id: str, now: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of one attempt: its id and time, and a signature by each key in the order given.

    The id is that of the delivery, so that a receiver knows one that comes again. Without keys nothing is signed.
    """
    timestamp = str(int(now.timestamp()))
    headers = {"webhook-id": delivery_id, "webhook-timestamp": timestamp}
    if keys:
        signed = b"%b.%b.%b" % (delivery_id.encode(), timestamp.encode(), body)
        headers["webhook-signature"] = " ".join(
            f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys
        )
    return headers
