"""API keys and their scopes."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

SCOPES = ("messages", "publish")
"""The scopes of keys: `messages` opens web messages, `publish` opens the publication of events."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: the hash instead of the key itself."""

    key_hash: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    revoked: datetime | None = None


def generate_key() -> str:
    """Return a new key of 256 random bits. The service shows it once and stores only its hash."""
    return secrets.token_urlsafe(32)


def hash_key(key: bytes) -> str:
    """Return the SHA-256 of a key in hexadecimal. Keys are random, so they need neither a salt nor a slow hash."""
    return hashlib.sha256(key).hexdigest()
