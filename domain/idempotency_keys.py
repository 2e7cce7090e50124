"""Idempotency keys: a caller repeats a request with the key of the first one, and gets the first answer."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson

from domain.web_messages import WebMessage

_FINGERPRINT_VERSION = 1
"""Increase it when the fingerprint of the same message changes. Then repetitions of older requests get 422."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(slots=True)
class IdempotencyKey:
    """The key of a request, with its scope and its message.

    The scope is the name of the caller's API key, the operation, and the municipality in the path if there is one.
    `fingerprint` is computed when it is first read: for a message without a case that is in the batch that inserts it,
    where 16 in a row take less time than one between other work.
    """

    caller: str
    operation: str
    key: str
    message: WebMessage
    _fingerprint: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def fingerprint(self) -> bytes:
        """The fingerprint of the message."""
        if self._fingerprint is None:
            self._fingerprint = compute_fingerprint(self.message)
        return self._fingerprint

    @property
    def hash(self) -> bytes:
        """The hash of the key and its scope, under which the key is stored. None of the texts contains U+0000."""
        text = f"{self.caller}\0{self.operation}\0{self.key}"
        if self.message.municipality_id is not None:
            text += f"\0{self.message.municipality_id}"
        return hashlib.sha256(text.encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class KeyedMessage:
    """The message that was created with a key, which may have been deleted since.

    `is_settled` is whether the outcome of its publication is known.
    """

    message_id: str
    fingerprint: bytes
    is_settled: bool


def parse_key(header: str) -> str:
    """Return the key in a valid header: the content of a quoted string, or a token as it is.

    Both forms of the same characters are the same key.
    """
    if header[0] != '"':
        return header
    # Few keys contain a backslash.
    return _ESCAPED.sub(r"\1", header[1:-1]) if "\\" in header else header[1:-1]


def build_first_id(moment: datetime) -> str:
    """Return the lowest id that a message of this moment can have. Ids begin with their time (UUIDs of version 7)."""
    digits = f"{(moment - _EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


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
    if message.municipality_id is not None:
        # Only for these, so that the fingerprints of others remain.
        content += [message.municipality_id, message.oep_instance_as_sent, message.is_from_owner]
        content += [] if message.sender_party_id is None else [message.sender_party_id]
    return hashlib.sha256(orjson.dumps(content)).digest()
