"""Check the claims of a token against the rules of its issuer (RFC 7519, RFC 9068, RFC 8705)."""

import base64
import binascii
from typing import Any

from oauth2.issuers import Issuer
from oauth2.tokens import TokenFault, TokenRefused, VerifiedToken

MAX_CLIENT = 255
"""Maximum characters of the name of a client."""

_CLIENT_CLAIMS = ("client_id", "azp", "sub")
"""Claims that name the client, the first one that is present. A `sub` may be a person, so it comes last."""

MAX_END = 253_402_300_799
"""The last second of the year 9999. Issuers that write milliseconds exceed it: their tokens would never expire."""

_SHA256_BYTES = 32


def check_claims(claims: dict[str, Any], issuer: Issuer, now: float) -> VerifiedToken:
    """Return the verified token of a correctly signed one. `now` is in seconds since 1970. Raises `TokenRefused`."""
    _check_audience(claims, issuer)
    expires = _check_times(claims, issuer.clock_tolerance, now)
    granted = _read_values(claims, issuer.scope_claim)
    systems = [] if issuer.system_claim is None else _read_values(claims, issuer.system_claim)
    return VerifiedToken(
        issuer=issuer,
        client=_read_client(claims),
        scopes=frozenset[str]().union(*(issuer.scope_map.get(value, ()) for value in granted)),
        systems=frozenset(system.lower() for system in systems),
        expires=expires,
        certificate=_read_certificate(claims),
    )


def _check_audience(claims: dict[str, Any], issuer: Issuer) -> None:
    audience = claims.get("aud")
    given = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(each, str) for each in given):
        raise _wrong("aud", "must be text or a list of texts")
    if not set(given) & set(issuer.audiences):
        raise TokenRefused(TokenFault.WRONG_AUDIENCE, "The token is meant for another service")


def _check_times(claims: dict[str, Any], tolerance: int, now: float) -> float:
    """Return the moment at which the token ends, including the tolerance."""
    expires = _read_time(claims, "exp")
    if expires is None:
        raise _wrong("exp", "is required")
    if expires > MAX_END:
        raise _wrong("exp", "must be in seconds since 1970, before the year 10000")
    if now >= expires + tolerance:
        raise TokenRefused(TokenFault.EXPIRED, "The token has expired")
    for name in ("nbf", "iat"):
        begins = _read_time(claims, name)
        if begins is not None and begins > now + tolerance:
            raise TokenRefused(TokenFault.NOT_YET_VALID, f"The token is not valid yet: {name} is in the future")
    return expires + tolerance


def _read_time(claims: dict[str, Any], name: str) -> float | None:
    """Return a moment in seconds since 1970, or None if the claim is absent."""
    given = claims.get(name)
    if given is None and name not in claims:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or given < 0:
        raise _wrong(name, "must be a number of seconds since 1970")
    return float(given)


def _read_values(claims: dict[str, Any], name: str) -> list[str]:
    """Return the values of a claim: a text with values separated by spaces (RFC 8693, section 4.2), or a list."""
    given = claims.get(name)
    if isinstance(given, str):
        return given.split(" ")
    if given is None and name not in claims:
        return []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise _wrong("with scopes or systems", "must be text or a list of texts")
    return given


def _read_client(claims: dict[str, Any]) -> str:
    for name in _CLIENT_CLAIMS:
        if name in claims:
            given = claims[name]
            # Logs and databases store it as the name of the caller.
            if not isinstance(given, str) or not 0 < len(given) <= MAX_CLIENT or not given.isprintable():
                raise _wrong(name, f"must be printable text of 1 to {MAX_CLIENT} characters")
            return given
    raise _wrong("client_id", "is required")


def _read_certificate(claims: dict[str, Any]) -> str | None:
    """Return the hash of the certificate to which the token is bound, in hex, or None for a token of any bearer.

    A token that is bound to anything else must not be accepted, since nothing here could confirm it (RFC 7800).
    """
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) and len(confirmation) == 1 else None
    if not isinstance(thumbprint, str):
        raise _wrong("cnf", "must contain x5t#S256 alone")
    try:
        digest = base64.urlsafe_b64decode(thumbprint + "=")
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != _SHA256_BYTES or base64.urlsafe_b64encode(digest).decode().rstrip("=") != thumbprint:
        raise _wrong("cnf", "must contain a SHA-256 in base64url")
    return digest.hex()


def _wrong(name: str, message: str) -> TokenRefused:
    return TokenRefused(TokenFault.WRONG_CLAIM, f"In the token, the claim {name} {message}")
