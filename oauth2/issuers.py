"""Trusted issuers of access tokens, as operators configure them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

AT_JWT = "at+jwt"
"""The type of access tokens in the form of RFC 9068."""

ANY_TYPE = "any"
"""Accept tokens without a type, or with the type `JWT` or `at+jwt`: for gateways that do not follow RFC 9068."""

DEFAULT_SCOPE_CLAIM = "scope"
DEFAULT_TOLERANCE = 10
"""Seconds by which clocks may differ."""


class KeyFamily(NamedTuple):
    """The keys that fit an algorithm: the type, and the curve unless the type is RSA (RFC 7518, RFC 8037)."""

    key_type: str
    curve: str | None = None


ALGORITHMS: Mapping[str, KeyFamily] = {
    "RS256": KeyFamily("RSA"),
    "RS384": KeyFamily("RSA"),
    "RS512": KeyFamily("RSA"),
    "PS256": KeyFamily("RSA"),
    "PS384": KeyFamily("RSA"),
    "PS512": KeyFamily("RSA"),
    "ES256": KeyFamily("EC", "P-256"),
    "ES384": KeyFamily("EC", "P-384"),
    "ES512": KeyFamily("EC", "P-521"),
    "EdDSA": KeyFamily("OKP", "Ed25519"),
    "Ed25519": KeyFamily("OKP", "Ed25519"),
}
"""The signature algorithms that an issuer may use. Symmetric ones and `none` are not among them."""


def normalise_type(media_type: str) -> str:
    """Return a type in lower case without `application/`, which RFC 7515, section 4.1.9, lets issuers omit."""
    return media_type.lower().removeprefix("application/")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer, and the rules for its tokens."""

    issuer: str
    """The exact value of the claim `iss`, without `#`."""
    audiences: tuple[str, ...]
    """The claim `aud` must contain one of these exactly."""
    algorithms: frozenset[str]
    """Names among `ALGORITHMS`."""
    jwks: str
    """The location of the JWK Set: `https://…`, or `file:` and an absolute path."""
    type: str = AT_JWT
    """The required `typ` of the header in the form of `normalise_type`, or `any`."""
    clock_tolerance: int = DEFAULT_TOLERANCE
    """Seconds by which the clock of the issuer may differ."""
    scope_claim: str = DEFAULT_SCOPE_CLAIM
    scope_map: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The scopes that each value of `scope_claim` grants. Other values grant none."""
    system_claim: str | None = None
    """The claim with the ids of systems that the caller may act for."""
    header: str | None = None
    """The header of a gateway's assertion in lower case; None for `Authorization`."""

    def find_granting_values(self, scope: str) -> list[str]:
        """Return the values of `scope_claim` that would grant a scope, sorted.

        A scope with parts is granted by each of its beginnings: `publish:1:5` by `publish` and `publish:1`.
        """
        parts = scope.split(":")
        granting = {":".join(parts[:length]) for length in range(1, len(parts) + 1)}
        return sorted(value for value, scopes in self.scope_map.items() if scopes & granting)


@dataclass(frozen=True, slots=True)
class TrustedIssuers:
    """The content of the file of issuers."""

    issuers: tuple[Issuer, ...]
    """At most one for each pair of `issuer` and `header`."""
    resource: str | None = None
    """The resource identifier of the service (RFC 9728), an https URL."""
