"""Idempotency keys: a caller repeats a request with the key of the first one, and gets the first answer."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

import orjson

from domain.web_messages import WebMessage

_FINGERPRINT_VERSION = 1
"""Increase it when the fingerprint of the same message changes. Then repetitions of older requests get 422."""

_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request, with its scope (the name of the caller's API key, the operation) and its content."""

    caller: str
    operation: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class KeyedMessage:
    """The message that was created with a key, which may have been deleted since.

    `is_settled` is whether the outcome of its publication is known.
    """

    message_id: str
    fingerprint: bytes
    key_created: datetime
    is_settled: bool


def parse_key(header: str) -> str:
    """Return the key in a valid header: the content of a quoted string, or a token as it is.

    Both forms of the same characters are the same key.
    """
    return _ESCAPED.sub(r"\1", header[1:-1]) if header.startswith('"') else header


def compute_fingerprint(message: WebMessage) -> bytes:
    """Return the SHA-256 of everything that a caller determines of a message, in canonical form.

    Files are part of it by name and hash, in order, so the encoding of a request has no influence.
    """
    content = [
        _FINGERPRINT_VERSION,
        message.party_id,
        message.message,
        [[reference.key, reference.value] for reference in message.external_references],
        message.sender_user_id,
        str(message.oep_instance),
        [[attachment.file_name, attachment.sha256] for attachment in message.attachments],
    ]
    return hashlib.sha256(orjson.dumps(content)).digest()
