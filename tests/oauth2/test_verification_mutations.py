"""No change of a good token passes, and nothing that an issuer signs breaks the verification."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauth2.issuers import ALGORITHMS
from oauth2.key_sets import KeySetUnusable, parse_key_set
from oauth2.tokens import TokenRefused, VerifiedToken
from oauth2.verification import TokenVerifier
from tests.tokens import (
    create_claims,
    create_issuer,
    create_key_set,
    create_token,
    create_token_key,
    encode,
    encode_json,
    sign_parts,
    write_key_set,
)

KEYS = [create_token_key(algorithm, f"key of {algorithm}") for algorithm in ("ES256", "RS256", "PS256", "Ed25519")]
SETTINGS = settings(deadline=None, database=None, derandomize=True)
ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Verify = Callable[[bytes], VerifiedToken]


@pytest.fixture(scope="module")
def verify(tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """Return a function that verifies tokens with one verifier, which remembers them."""
    path = write_key_set(tmp_path_factory.mktemp("keys") / "jwks.json", *KEYS)
    issuer = create_issuer(f"file:{path}", system_claim="system", type="any")
    verifier = TokenVerifier([issuer], now=lambda: datetime.now(UTC))
    return lambda token: asyncio.run(verifier.verify(token))


@pytest.fixture(scope="module")
def tokens() -> list[bytes]:
    claims = create_claims(exp=4_000_000_000, system=["a"], cnf={"x5t#S256": encode(bytes(32))})
    return [create_token(key, claims).encode() for key in KEYS]


def mutate_characters(draw: Any, token: bytes) -> bytes:
    """Replace, insert, remove, repeat or exchange characters, mostly those that base64url has."""
    character = st.sampled_from(list(range(256)) + list(b"ABCabc019-_.=") * 20)
    start = draw(st.integers(0, len(token)))
    end = draw(st.integers(start, min(start + 3, len(token))))
    piece = bytes(draw(st.lists(character, max_size=3)))
    copied = token[draw(st.integers(0, len(token))) :][: draw(st.integers(0, 40))]
    return token[:start] + draw(st.sampled_from([piece, copied])) + token[end:]


def mutate_bytes(draw: Any, token: bytes) -> bytes:
    """Change, add or remove bytes of one part, and encode it well."""
    parts = token.split(b".")
    place = draw(st.integers(0, 2))
    data = bytearray(base64.urlsafe_b64decode(parts[place] + b"=="))
    start = draw(st.integers(0, len(data)))
    data[start : start + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    parts[place] = encode(bytes(data)).encode()
    return b".".join(parts)


def mutate_json(draw: Any, token: bytes) -> bytes:
    """Change, add or remove a value of the header or the claims."""
    parts = token.split(b".")
    place = draw(st.integers(0, 1))
    values = json.loads(base64.urlsafe_b64decode(parts[place] + b"=="))
    name = draw(st.sampled_from([*values, "scope", "alg", "kid", "crit", "jwk"]))
    value = draw(VALUES | st.sampled_from(["none", "HS256", *ALGORITHMS]) | st.just(...))
    values = {key: each for key, each in {**values, name: value}.items() if each is not ...}
    parts[place] = encode(encode_json(values)).encode()
    return b".".join(parts)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["", "a b", "https://budkavle.example", "at+jwt", "wms:write", 4_000_000_000, 10**400, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
HEADER_NAMES = ("alg", "typ", "kid", "crit", "b64", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "cty", "zip", "enc")
CLAIM_NAMES = ("iss", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "sub", "scope", "system", "cnf")


def changes(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=8), VALUES | st.just(...), max_size=4)


@settings(SETTINGS, max_examples=200)
@given(data=st.data())
@pytest.mark.parametrize("mutate", [mutate_characters, mutate_bytes, mutate_json])
def test_no_mutation_of_a_good_token_passes(
    verify: Verify, tokens: list[bytes], mutate: Callable[[Any, bytes], bytes], data: st.DataObject
) -> None:
    token = data.draw(st.sampled_from(tokens))
    verify(token)
    mutated = mutate(data.draw, token)
    # A drawn change may be none.
    if mutated != token:
        with pytest.raises(TokenRefused):
            verify(mutated)


@settings(SETTINGS, max_examples=200)
@given(header=changes(HEADER_NAMES), claims=changes(CLAIM_NAMES), number=st.integers(0, len(KEYS) - 1))
def test_signed_nonsense_is_accepted_or_refused(
    verify: Verify, header: dict[str, Any], claims: dict[str, Any], number: int
) -> None:
    """Whatever a trusted issuer signs is a valid token or a refused one, never another error."""
    key = KEYS[number]
    full = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.key_id, **header}
    text = encode_json({name: value for name, value in full.items() if value is not ...})
    try:
        found = verify(sign_parts(key, text, encode_json(create_claims(**claims))).encode())
    except TokenRefused:
        return
    assert found.client.isprintable()
    assert found.expires > datetime.now(UTC).timestamp()


@settings(SETTINGS, max_examples=150)
@given(payload=st.binary(max_size=60), header=st.binary(max_size=60))
def test_signed_bytes_are_accepted_or_refused(verify: Verify, payload: bytes, header: bytes) -> None:
    good = encode_json({"alg": "ES256", "typ": "at+jwt", "kid": KEYS[0].key_id})
    for parts in ((good, payload), (header, encode_json(create_claims()))):
        with pytest.raises(TokenRefused):
            verify(sign_parts(KEYS[0], *parts).encode())


@settings(SETTINGS, max_examples=150)
@given(
    changed=changes(("kty", "crv", "n", "e", "x", "y", "d", "k", "use", "key_ops", "alg", "kid", "x5c")),
    number=st.integers(0, len(KEYS) - 1),
)
def test_any_key_is_used_or_ignored(changed: dict[str, Any], number: int) -> None:
    """Whatever a key set contains, it has keys or is unusable, never another error."""
    entry = {name: value for name, value in {**KEYS[number].jwk, **changed}.items() if value is not ...}
    other = create_key_set(create_token_key("ES384"))["keys"]
    try:
        found = parse_key_set(json.dumps({"keys": [entry, *other]}).encode())
    except KeySetUnusable as exc:
        assert "unambiguous JSON" in str(exc)  # noqa: PT017  # Other reasons ignore one key alone.
    else:
        assert len(found.keys) + len(found.ignored) == 2


def test_second_form_of_an_ecdsa_signature_gives_the_same_token(verify: Verify, tokens: list[bytes]) -> None:
    """With (r, s) also (r, n - s) is a signature of the same claims: RFC 7518 allows both, and issuers send both."""
    token = tokens[0]
    head, _, signature = token.rpartition(b".")
    numbers = base64.urlsafe_b64decode(signature + b"==")
    other = numbers[:32] + (ORDER_OF_P256 - int.from_bytes(numbers[32:])).to_bytes(32)
    assert verify(head + b"." + encode(other).encode()) == verify(token)
