"""API keys: who may call which operations."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

SCOPES = ("messages", "publish")
"""What a key can open: web messages; publishing of events."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: its hash, never itself."""

    key_hash: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    revoked: datetime | None = None


def new_key() -> str:
    """A key of 256 random bits, to be shown once."""
    return secrets.token_urlsafe(32)


def hash_key(key: bytes) -> str:
    """The SHA-256 of a key in hexadecimal. A key is random, so it needs no salt and no slow hash."""
    return hashlib.sha256(key).hexdigest()
