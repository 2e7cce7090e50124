"""Parse a token: the JWS Compact Serialization (RFC 7515, section 7.1) of a JWT, before anything in it is trusted."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from oauth2.issuers import normalise_type
from oauth2.strict_json import parse_object
from oauth2.tokens import TokenFault, TokenRefused

MAX_BYTES = 8 * 1024
"""Maximum bytes of a token."""

MAX_KEY_ID = 256
"""Maximum characters of a key id."""

_SEGMENTS = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """The parts of a token that a caller could have made up."""

    algorithm: str
    type: str | None
    key_id: str | None
    claims: dict[str, Any]


def parse_token(token: bytes) -> UnverifiedToken:
    """Return the parts of a token.

    A parameter of the header that names or contains a key (`jku`, `jwk`, `x5u`, `x5c`) is ignored. Raises
    `TokenRefused`.
    """
    if len(token) > MAX_BYTES:
        raise TokenRefused(TokenFault.TOO_LARGE, f"The token is longer than {MAX_BYTES} bytes")
    segments = _SEGMENTS.fullmatch(token)
    if segments is None:
        raise _malformed("The token is not a signed JWT: three parts in base64url, separated by periods")
    header = _decode_object(segments[1], "header")
    claims = _decode_object(segments[2], "payload")
    _decode(segments[3], "signature")
    # RFC 7515, section 4.1.11: none of the extensions that `crit` could name is understood here.
    for name in ("crit", "b64"):
        if name in header:
            raise _malformed(f"The header of the token must not contain {name}")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise _malformed("The header of the token must contain the text alg")
    return UnverifiedToken(algorithm, _read_type(header), _read_key_id(header), claims)


def _read_type(header: dict[str, Any]) -> str | None:
    given = header.get("typ")
    if given is None and "typ" not in header:
        return None
    if not isinstance(given, str):
        raise _malformed("In the header of the token, typ must be text")
    return normalise_type(given)


def _read_key_id(header: dict[str, Any]) -> str | None:
    given = header.get("kid")
    if given is None and "kid" not in header:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= MAX_KEY_ID:
        raise _malformed(f"In the header of the token, kid must be text of 1 to {MAX_KEY_ID} characters")
    return given


def _decode_object(segment: bytes, part: str) -> dict[str, Any]:
    decoded = _decode(segment, part)
    try:
        return parse_object(decoded)
    except ValueError:
        raise _malformed(f"The {part} of the token is not an unambiguous JSON object") from None


def _decode(segment: bytes, part: str) -> bytes:
    """Return the bytes of a segment, which must be their only encoding."""
    try:
        decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise _malformed(f"The {part} of the token is not base64url")
    return decoded


def _malformed(message: str) -> TokenRefused:
    return TokenRefused(TokenFault.MALFORMED, message)
