"""Tokens are parsed before anything in them is trusted; `tests/bad_tokens.py` has those that are refused."""

import pytest

from oauth2.compact_serialization import MAX_BYTES, MAX_KEY_ID, parse_token
from oauth2.tokens import TokenRefused
from tests.tokens import create_claims, create_token


def test_parts_of_a_token_are_returned() -> None:
    claims = create_claims()
    found = parse_token(create_token(claims=claims, typ="Application/AT+JWT").encode())
    assert (found.algorithm, found.type, found.key_id, found.claims) == ("ES256", "at+jwt", "key-1", claims)


def test_type_and_key_id_are_optional() -> None:
    found = parse_token(create_token(typ=..., kid=...).encode())
    assert (found.type, found.key_id) == (None, None)


def test_longest_key_id_is_accepted() -> None:
    assert parse_token(create_token(kid="k" * MAX_KEY_ID).encode()).key_id == "k" * MAX_KEY_ID


def test_longest_token_is_accepted() -> None:
    claims = create_claims(jti="a")
    tokens = (
        create_token(claims={**claims, "padding": "x" * length}, cty="x" * extra).encode()
        for extra in range(3)
        for length in range(5700, 6000)
    )
    token = next(token for token in tokens if len(token) == MAX_BYTES)
    parse_token(token)
    with pytest.raises(TokenRefused, match="longer than 8192 bytes"):
        parse_token(token + b"A")
