"""Tokens that must not be accepted, each with the reason. The issuer has the keys `EC_KEY` and `RSA_KEY`."""

import base64
import hmac
import string
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from oauth2.compact_serialization import MAX_BYTES
from oauth2.tokens import TokenFault
from tests.tokens import (
    AUDIENCE,
    CLIENT,
    TokenKey,
    create_claims,
    create_token,
    create_token_key,
    encode,
    encode_json,
    sign_parts,
)

EC_KEY = create_token_key("ES256", "ec-key")
RSA_KEY = create_token_key("RS256", "rsa-key")
FOREIGN_KEY = create_token_key("ES256", "foreign-key")
FOREIGN_RSA_KEY = create_token_key("RS256", "foreign-rsa-key")

HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": EC_KEY.key_id}


def _claims(**changes: Any) -> Callable[[], str]:
    return lambda: create_token(EC_KEY, create_claims(**changes))


def _header(**changes: Any) -> Callable[[], str]:
    return lambda: create_token(EC_KEY, **changes)


def _claims_text(old: str, new: str) -> Callable[[], str]:
    """Return a token whose claims are a JSON text that no encoder writes."""

    def create() -> str:
        text = encode_json(create_claims(marked="here"))
        assert old in text
        return sign_parts(EC_KEY, encode_json(HEADER), text.replace(old, new))

    return create


def _header_text(text: str | bytes) -> Callable[[], str]:
    return lambda: sign_parts(EC_KEY, text, encode_json(create_claims()))


def _payload(payload: str | bytes) -> Callable[[], str]:
    return lambda: sign_parts(EC_KEY, encode_json(HEADER), payload)


def _edit(change: Callable[[str], str]) -> Callable[[], str]:
    """Return a good token after a change of its characters."""
    return lambda: change(create_token(EC_KEY))


def _edit_part(number: int, change: Callable[[str], str]) -> Callable[[], str]:
    def edit(token: str) -> str:
        parts = token.split(".")
        parts[number] = change(parts[number])
        return ".".join(parts)

    return _edit(edit)


def _unsigned(algorithm: str, signature: str = "") -> Callable[[], str]:
    return lambda: (
        f"{encode(encode_json({**HEADER, 'alg': algorithm}))}.{encode(encode_json(create_claims()))}.{signature}"
    )


def _public_pem(key: TokenKey) -> bytes:
    public = key.private.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _symmetric(secret: Callable[[], bytes]) -> Callable[[], str]:
    """Return a token with an HMAC of something that everybody knows."""

    def create() -> str:
        header = encode(encode_json({"alg": "HS256", "typ": "at+jwt", "kid": RSA_KEY.key_id}))
        message = f"{header}.{encode(encode_json(create_claims()))}"
        return f"{message}.{encode(hmac.digest(secret(), message.encode(), 'sha256'))}"

    return create


def _relabel(key: TokenKey, algorithm: str) -> Callable[[], str]:
    """Return a token that the key signs with its own algorithm, under the name of another one."""
    return lambda: create_token(key, alg=algorithm)


def _der_signature() -> str:
    """Return a token with the signature of OpenSSL instead of that of RFC 7518, section 3.4."""

    def convert(signature: str) -> str:
        raw = base64.urlsafe_b64decode(signature + "==")
        return encode(encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])))

    return _edit_part(2, convert)()


def _of_length(length: int) -> Callable[[], str]:
    """Return a good token padded to a length, or one that is up to two characters longer."""

    def create() -> str:
        padding = 0
        while len(token := create_token(EC_KEY, create_claims(padding="x" * padding))) < length:
            padding += max(1, (length - len(token)) * 3 // 4 - 2)
        return token

    return create


def _jwe() -> str:
    """Return a token of five parts, as one that is encrypted (RFC 7516)."""
    header = encode(encode_json({"alg": "RSA-OAEP-256", "enc": "A256GCM", "typ": "at+jwt", "kid": RSA_KEY.key_id}))
    return ".".join([header, *(encode(bytes([number]) * 16) for number in range(4))])


def _id_token() -> str:
    """Return what the issuer gives a client to know its user (OpenID Connect Core, section 2)."""
    return create_token(EC_KEY, create_claims(aud=CLIENT, nonce="n-0S6_WzA2Mj", client_id=..., scope=...), typ="JWT")


def _at(name: str, seconds: int) -> Callable[[], str]:
    """Return a token with a moment that is this far from now."""
    return lambda: create_token(EC_KEY, create_claims(**{name: int(time.time()) + seconds}))


def _flip_last_bit(part: str) -> str:
    """Return a part whose last character has another bit that belongs to no byte."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


def _nest(levels: int) -> str:
    return "[" * levels + "]" * levels


def _to_json(token: str) -> str:
    return encode_json(dict(zip(("protected", "payload", "signature"), token.split("."), strict=True)))


BAD_TOKENS: dict[TokenFault, dict[str, Callable[[], str]]] = {
    TokenFault.TOO_LARGE: {
        "longer than the limit": _of_length(MAX_BYTES + 1),
        "a megabyte": _of_length(1_000_000),
        "deeply nested": _claims_text('"here"', _nest(3000)),
    },
    TokenFault.MALFORMED: {
        "empty": lambda: "",
        "a word": lambda: "token",
        "an opaque token": lambda: "2YotnFZFEjr1zCsicMWpAA",
        "only periods": lambda: "..",
        "two parts": _edit(lambda token: token.rpartition(".")[0]),
        "four parts": _edit(lambda token: f"{token}.e30"),
        "no signature": _edit_part(2, lambda _: ""),
        "no claims": _edit_part(1, lambda _: ""),
        "no header": _edit_part(0, lambda _: ""),
        "a period at the end": _edit(lambda token: f"{token}."),
        "a space before it": _edit(lambda token: f" {token}"),
        "a space after it": _edit(lambda token: f"{token} "),
        "a line break after it": _edit(lambda token: f"{token}\n"),
        "quoted": _edit(lambda token: f'"{token}"'),
        "twice": _edit(lambda token: f"{token},{token}"),
        "padded signature": _edit_part(2, lambda part: f"{part}=="),
        "padded claims": _edit_part(1, lambda part: f"{part}="),
        "base64 instead of base64url": _edit_part(2, lambda part: f"+/{part[2:]}"),
        "length that base64 does not have": _edit_part(2, lambda part: f"{part}AAA"),
        "other bits after the signature": _edit_part(2, _flip_last_bit),
        "not ASCII": _edit_part(2, lambda part: f"{part}é"),
        "NUL": _edit_part(2, lambda part: f"{part}\0"),
        "encrypted": _jwe,
        "JSON serialization": _edit(_to_json),
        "header is a list": _header_text("[]"),
        "header is no JSON": _header_text("{"),
        "header is not UTF-8": _header_text(b'{"alg":"ES256","typ":"\xff"}'),
        "header begins with a byte order mark": _header_text(b"\xef\xbb\xbf" + encode_json(HEADER).encode()),
        "header in UTF-16": _header_text(encode_json(HEADER).encode("utf-16")),
        "algorithm twice": _header_text('{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"ec-key"}'),
        "no algorithm": _header(alg=...),
        "algorithm is null": _header(alg=None),
        "algorithm is a list": _header(alg=["ES256"]),
        "algorithm none without signature": _unsigned("none"),
        "type is a list": _header(typ=["at+jwt"]),
        "type is null": _header(typ=None),
        "critical extension": _header(crit=["exp"], exp=1),
        "no critical extension": _header(crit=[]),
        "critical is null": _header(crit=None),
        "payload without base64": _header(b64=False, crit=["b64"]),
        "payload without base64, not critical": _header(b64=False),
        "key id is a list": _header(kid=["ec-key"]),
        "key id is an object": _header(kid={"$ne": ""}),
        "key id is a number": _header(kid=1),
        "key id is null": _header(kid=None),
        "key id is empty": _header(kid=""),
        "key id is long": _header(kid="k" * 257),
        "key id with an unpaired surrogate": _header_text('{"alg":"ES256","typ":"at+jwt","kid":"\\ud800"}'),
        "claims are a list": _payload("[]"),
        "claims are text": _payload('"claims"'),
        "claims are null": _payload("null"),
        "claims are another token": lambda: sign_parts(
            EC_KEY, encode_json({**HEADER, "cty": "JWT"}), create_token(EC_KEY)
        ),
        "claims are not UTF-8": _payload(b'{"iss":"\xe9"}'),
        "claims with a comment": _claims_text("{", "/**/{"),
        "claims with text after them": _claims_text("}", "}{}"),
        "claim twice": _claims_text('"marked":"here"', '"scope":"wms:read"'),
        "claim twice, once escaped": _claims_text('"marked":"here"', '"\\u0069ss":"other"'),
        "claim twice, nested": _claims_text('"here"', '{"a":1,"a":2}'),
        "NaN": _claims_text('"here"', "NaN"),
        "infinity": _claims_text('"here"', "-Infinity"),
        "number that is infinite": _claims_text('"here"', "1e999"),
        "integer of 5,000 digits": _claims_text('"here"', "9" * 5000),
        "nested to the limit of bytes": _claims_text('"here"', _nest(2800)),
        "nested a little too deeply": _claims_text('"here"', _nest(16)),
        "unpaired surrogate": _claims_text("here", "\\udc00"),
        "end has 17 digits": _claims(exp=10**16),
    },
    TokenFault.UNKNOWN_ISSUER: {
        "no issuer": _claims(iss=...),
        "issuer is a list": _claims(iss=["https://issuer.example"]),
        "other issuer": _claims(iss="https://issuer.example.org"),
        "issuer with a slash": _claims(iss="https://issuer.example/"),
        "issuer in another case": _claims(iss="https://ISSUER.example"),
    },
    TokenFault.WRONG_ALGORITHM: {
        "algorithm none": _unsigned("none", "AA"),
        "algorithm None": _unsigned("None", "AA"),
        "algorithm in lower case": _header(alg="es256"),
        "unknown algorithm": _header(alg="ES257"),
        "algorithm that the issuer may not use": lambda: create_token(create_token_key("ES384", "ec-key")),
        "HMAC with the public key as PEM": _symmetric(lambda: _public_pem(RSA_KEY)),
        "HMAC with the public key as JWK": _symmetric(lambda: encode_json(RSA_KEY.jwk).encode()),
        "HMAC with an empty key": _symmetric(lambda: b""),
        "RSA signature of the wrong kind": _relabel(RSA_KEY, "PS256"),
    },
    TokenFault.WRONG_TYPE: {
        "no type": _header(typ=...),
        "type JWT": _header(typ="JWT"),
        "type of a logout token": _header(typ="logout+jwt"),
        "type of a proof of possession": _header(typ="dpop+jwt"),
        "type with parameters": _header(typ="at+jwt; v=1"),
        "type of another tree": _header(typ="text/at+jwt"),
        "ID token": _id_token,
    },
    TokenFault.UNKNOWN_KEY: {
        "key of another family": _relabel(EC_KEY, "RS256"),
        "RSA key under the name of ECDSA": _relabel(RSA_KEY, "ES256"),
        "key id is a path": _header(kid="../../../../dev/null"),
        "key id is SQL": _header(kid="' OR '1'='1"),
        "key id in another case": _header(kid="EC-KEY"),
        "foreign key": lambda: create_token(FOREIGN_KEY),
        "foreign key at a URL": lambda: create_token(FOREIGN_KEY, jku="https://attacker.example/jwks.json"),
        "foreign certificate at a URL": lambda: create_token(FOREIGN_KEY, x5u="https://attacker.example/cert.pem"),
    },
    TokenFault.WRONG_SIGNATURE: {
        "foreign key under a known id": lambda: create_token(FOREIGN_KEY, kid="ec-key"),
        "foreign RSA key under a known id": lambda: create_token(FOREIGN_RSA_KEY, kid="rsa-key"),
        "foreign key without id": lambda: create_token(FOREIGN_KEY, kid=...),
        "foreign key in the header": lambda: create_token(FOREIGN_KEY, kid="ec-key", jwk=FOREIGN_KEY.jwk),
        "foreign certificate in the header": lambda: create_token(FOREIGN_KEY, kid="ec-key", x5c=["MIIB"]),
        "claims of another token": _edit_part(1, lambda _: encode(encode_json(create_claims(scope="wms:write admin")))),
        "header of another token": _edit_part(0, lambda _: encode(encode_json({**HEADER, "cty": "x"}))),
        "signature of another token": _edit_part(2, lambda _: create_token(EC_KEY).rpartition(".")[2]),
        "signature of zeros": _edit_part(2, lambda _: encode(bytes(64))),
        "short signature": _edit_part(2, lambda part: encode(base64.urlsafe_b64decode(part + "==")[:-1])),
        "long signature": _edit_part(2, lambda part: encode(base64.urlsafe_b64decode(part + "==") + b"\0")),
        "signature in DER": _der_signature,
    },
    TokenFault.WRONG_AUDIENCE: {
        "no audience in the list": _claims(aud=[]),
        "other audience": _claims(aud="https://other.example"),
        "part of the audience": _claims(aud=AUDIENCE[:-1]),
        "more than the audience": _claims(aud=f"{AUDIENCE}.attacker.example"),
        "audiences in one text": _claims(aud=f"{AUDIENCE} https://other.example"),
    },
    TokenFault.WRONG_CLAIM: {
        "no audience": _claims(aud=...),
        "audience is null": _claims(aud=None),
        "audience is an object": _claims(aud={AUDIENCE: True}),
        "audience with a number": _claims(aud=[AUDIENCE, 1]),
        "audience in a list in a list": _claims(aud=[[AUDIENCE]]),
        "no end": _claims(exp=...),
        "end is null": _claims(exp=None),
        "end is text": _claims(exp="9999999999"),
        "end is a list": _claims(exp=[9999999999]),
        "end is true": _claims(exp=True),
        "end is negative": _claims(exp=-1),
        "end is in milliseconds": _claims(exp=1_893_456_000_000),
        "end is in another age": _claims(exp=1e300),
        "end is a day": _claims(exp="2999-01-01T00:00:00Z"),
        "beginning is text": _claims(nbf="0"),
        "beginning is null": _claims(nbf=None),
        "issue is text": _claims(iat="0"),
        "no client": _claims(client_id=..., sub=...),
        "client is a number": _claims(client_id=7),
        "client is null": _claims(client_id=None),
        "client is empty": _claims(client_id=""),
        "client with a NUL": _claims(client_id="case\0system"),
        "client with a line break": _claims(client_id="case\nsystem"),
        "client is long": _claims(client_id="c" * 256),
        "scope is a number": _claims(scope=1),
        "scope is null": _claims(scope=None),
        "scope is an object": _claims(scope={"wms:write": True}),
        "scope with a list": _claims(scope=[["wms:write"]]),
        "bound to nothing": _claims(cnf={}),
        "bound to null": _claims(cnf=None),
        "bound to a text": _claims(cnf="x5t#S256"),
        "bound to a key of the caller": _claims(cnf={"jkt": encode(bytes(32))}),
        "bound to a certificate and a key": _claims(cnf={"x5t#S256": encode(bytes(32)), "jkt": encode(bytes(32))}),
        "bound to a short hash": _claims(cnf={"x5t#S256": encode(bytes(20))}),
        "bound to a hash in hex": _claims(cnf={"x5t#S256": "00" * 32}),
        "bound to a padded hash": _claims(cnf={"x5t#S256": encode(bytes(32)) + "="}),
        "bound to a list": _claims(cnf={"x5t#S256": [encode(bytes(32))]}),
    },
    TokenFault.EXPIRED: {
        "expired": _at("exp", -600),
        "expired in 1970": _claims(exp=0),
    },
    TokenFault.NOT_YET_VALID: {
        "not yet valid": _at("nbf", 600),
        "issued in the future": _at("iat", 600),
        "issued in milliseconds": lambda: create_token(EC_KEY, create_claims(iat=int(time.time()) * 1000)),
    },
}
"""The tokens by reason and name. They are created when a test runs: most would be valid if nothing else were wrong."""
