"""API keys."""

import base64
import hashlib

from domain.api_keys import generate_key, hash_key


def test_new_key_has_256_random_bits() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(base64.urlsafe_b64decode(key + "=")) == 32 for key in keys)


def test_hash_key_is_the_hexadecimal_sha_256() -> None:
    assert hash_key(b"key") == hashlib.sha256(b"key").hexdigest()
    assert hash_key(b"\xff") != hash_key(b"\xfe")
