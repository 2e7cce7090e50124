"""JWK Sets are parsed strictly, and keys that cannot be used are ignored with a reason."""

import json
from typing import Any

import pytest

from oauth2.issuers import ALGORITHMS
from oauth2.key_sets import MAX_KEYS, KeySet, KeySetUnusable, parse_key_set
from tests.tokens import create_key_set, create_token_key, encode

EC = create_token_key("ES256", "ec-key")
RSA = create_token_key("RS256", "rsa-key")
PRIVATE = {"kty": "EC", "crv": "P-256", "d": "AAAA"}


def parse(*entries: Any) -> KeySet:
    return parse_key_set(json.dumps({"keys": entries}).encode())


def change(jwk: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**jwk, **changes}.items() if value is not ...}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_find_returns_keys_that_fit_the_algorithm(algorithm: str) -> None:
    keys = [create_token_key(each, f"key of {each}") for each in ALGORITHMS]
    found = parse_key_set(json.dumps(create_key_set(*keys)).encode())
    assert [key.key_id for key in found.find(None, algorithm)] == [f"key of {algorithm}"]
    assert [key.key_id for key in found.find(f"key of {algorithm}", algorithm)] == [f"key of {algorithm}"]
    other = next(each for each in ALGORITHMS if each != algorithm)
    assert found.find(f"key of {other}", algorithm) == []


def test_key_without_algorithm_fits_each_of_its_family() -> None:
    found = parse(change(RSA.jwk, alg=...))
    assert [name for name in ALGORITHMS if found.find("rsa-key", name)] == [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    ]  # fmt: skip


def test_key_without_id_is_not_that_of_a_token_with_id() -> None:
    found = parse(change(EC.jwk, kid=...))
    assert found.find("ec-key", "ES256") == []
    assert len(found.find(None, "ES256")) == 1


def test_certificates_and_unknown_parameters_of_a_key_are_ignored() -> None:
    found = parse(change(EC.jwk, x5c=["no certificate"], x5t="?", x5u="http://a", nbf=1, key_ops=["verify"], use=...))
    assert (len(found.keys), found.ignored) == (1, ())


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (7, "it is not an object"),
        ({}, "only the types RSA, EC and OKP are supported"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "only the types RSA, EC and OKP are supported"),
        ({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, "only the types RSA, EC and OKP are supported"),
        (change(EC.jwk, kty=["EC"]), "kty is not text of 1 to 2048 characters"),
        (change(EC.jwk, d="AAAA"), "it is a private key"),
        (change(EC.jwk, use="enc"), "it is not meant for signatures"),
        (change(EC.jwk, use=["sig"]), "it is not meant for signatures"),
        (change(EC.jwk, key_ops=["encrypt"]), "it is not meant for signatures"),
        (change(EC.jwk, key_ops="verify"), "it is not meant for signatures"),
        (change(EC.jwk, crv="secp256k1"), "the curve is not supported"),
        (change(EC.jwk, crv="P-384"), "alg does not fit the key"),
        (change(EC.jwk, crv=...), "the curve is not supported"),
        ({"kty": "OKP", "crv": "Ed448", "x": "AAAA"}, "the curve is not supported"),
        ({"kty": "OKP", "crv": "X25519", "x": "AAAA"}, "the curve is not supported"),
        (change(EC.jwk, alg="RS256"), "alg does not fit the key"),
        (change(EC.jwk, alg="ES384"), "alg does not fit the key"),
        (change(EC.jwk, alg="none"), "alg does not fit the key"),
        (change(EC.jwk, alg=["ES256"]), "alg is not text of 1 to 2048 characters"),
        (change(EC.jwk, kid=7), "kid is not text of 1 to 2048 characters"),
        (change(EC.jwk, x=...), "its parameters are invalid"),
        (change(EC.jwk, x="AAAA"), "its parameters are invalid"),
        (change(EC.jwk, x="!"), "its parameters are invalid"),
        (change(EC.jwk, x=7), "x is not text of 1 to 2048 characters"),
        (change(EC.jwk, y=EC.jwk["x"]), "its parameters are invalid"),
        (change(RSA.jwk, e=...), "its parameters are invalid"),
        (change(RSA.jwk, e="AQ"), "its parameters are invalid"),
        (change(RSA.jwk, n="AQAB"), "an RSA key must have 2048 to 8192 bits"),
        (change(RSA.jwk, n=encode(b"\x7f" + b"\xff" * 255)), "an RSA key must have 2048 to 8192 bits"),
        (change(RSA.jwk, n=...), "an RSA key must have 2048 to 8192 bits"),
        (change(RSA.jwk, n=encode(b"\x01" + b"\xff" * 1024)), "an RSA key must have 2048 to 8192 bits"),
        (change(RSA.jwk, n="é" * 400), "its parameters are invalid"),
    ],
    ids=range(32),
)
def test_unusable_key_is_ignored(entry: Any, reason: str) -> None:
    with pytest.raises(KeySetUnusable) as caught:
        parse(entry)
    assert str(caught.value) == f"The JWK Set has no usable key; key 1: {reason}"
    found = parse(entry, RSA.jwk)
    assert [key.key_id for key in found.keys] == ["rsa-key"]
    assert found.ignored == (f"key 1: {reason}",)


def test_private_key_is_not_in_the_reason() -> None:
    found = parse(change(EC.jwk, d="c2VjcmV0"), RSA.jwk)
    assert "c2VjcmV0" not in repr(found)


def test_more_keys_than_the_limit_are_ignored() -> None:
    found = parse(*[change(EC.jwk, kid=str(number)) for number in range(MAX_KEYS + 5)])
    assert len(found.keys) == MAX_KEYS
    assert found.ignored == (f"keys from number {MAX_KEYS + 1}: more than {MAX_KEYS}",)
