"""API keys."""

import base64
import hashlib

from domain.api_keys import ApiKey, generate_key, hash_key
from domain.callers import Caller, CallerKind
from tests.factories import NOW


def test_new_key_has_256_random_bits() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(base64.urlsafe_b64decode(key + "=")) == 32 for key in keys)


def test_hash_key_is_the_hexadecimal_sha_256() -> None:
    assert hash_key(b"key") == hashlib.sha256(b"key").hexdigest()
    assert hash_key(b"\xff") != hash_key(b"\xfe")


def test_build_caller_expands_scopes_and_ignores_unknown_ones() -> None:
    key = ApiKey("hash", "a#b", ("messages", "publish:8", "messages.approve", "publish:x"), NOW)
    scopes = frozenset({"messages.read", "messages.write", "publish:8"})
    assert key.build_caller() == Caller(CallerKind.KEY, "a%23b", scopes)
