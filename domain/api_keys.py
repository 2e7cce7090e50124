"""API keys and their scopes."""

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from domain.callers import Caller, CallerKind, parse_scope


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: the hash instead of the key itself."""

    key_hash: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    revoked: datetime | None = None
    expires: datetime | None = None
    last_used: datetime | None = None
    """Accurate to about an hour."""

    def is_expired(self, now: datetime) -> bool:
        """Return whether the key has expired."""
        return self.expires is not None and self.expires <= now

    def build_caller(self) -> Caller:
        """Return the caller with this key."""
        # Keys that were created earlier may have the form of a name that only tokens have now.
        name = self.name.replace("#", "%23")
        scopes: frozenset[str] = frozenset()
        for scope in self.scopes:
            # A scope of a newer version of the program gives no access here.
            with suppress(ValueError):
                scopes |= parse_scope(scope)
        return Caller(CallerKind.KEY, name, scopes)


def generate_key() -> str:
    """Return a new key of 256 random bits. The service shows it once and stores only its hash."""
    return secrets.token_urlsafe(32)


def hash_key(key: bytes) -> str:
    """Return the SHA-256 of a key in hexadecimal. Keys are random, so they need neither a salt nor a slow hash."""
    return hashlib.sha256(key).hexdigest()
