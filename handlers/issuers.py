"""The issuers whose access tokens are accepted now, and the metadata of the service for their callers (RFC 9728)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from oauth2.issuers import TrustedIssuers

if TYPE_CHECKING:
    from oauth2.verification import TokenVerifier

METADATA_PATH = "/.well-known/oauth-protected-resource"

_CLAIMS_OF_SCOPES = {"scope", "scp"}
"""The claims whose values callers request as scopes. Others, such as roles, are assigned by the issuer."""


@dataclass(frozen=True)
class AcceptedIssuers:
    """Trusted issuers with the verifier of their tokens. Reloading replaces the whole object."""

    trusted: TrustedIssuers
    verifier: "TokenVerifier"
    is_certificate_visible: bool
    """Whether the service can receive client certificates."""

    @cached_property
    def reads_authorization(self) -> bool:
        """Whether tokens are accepted in the header `Authorization`."""
        return any(issuer.header is None for issuer in self.trusted.issuers)

    @cached_property
    def gateway_headers(self) -> dict[bytes, str]:
        """The names of the headers in which gateways send tokens."""
        headers = sorted({issuer.header for issuer in self.trusted.issuers if issuer.header is not None})
        return {header.encode(): header for header in headers}

    @cached_property
    def metadata_url(self) -> str | None:
        """The URL of the metadata (RFC 9728, section 3.1), or None without a resource."""
        return None if self.trusted.resource is None else build_metadata_url(self.trusted.resource)

    @cached_property
    def metadata(self) -> dict[str, Any] | None:
        """The metadata of the service as a protected resource (RFC 9728, section 2), or None without a resource."""
        if self.trusted.resource is None:
            return None
        # Callers cannot request the tokens of gateways.
        issuers = [issuer for issuer in self.trusted.issuers if issuer.header is None]
        metadata = {
            "resource": self.trusted.resource,
            "resource_name": "Budkavle",
            "authorization_servers": _sort(each.issuer for each in issuers if each.issuer.startswith("https://")),
            "scopes_supported": _sort(
                value
                for each in issuers
                if each.scope_claim in _CLAIMS_OF_SCOPES
                for value in filter(is_scope, each.scope_map)
            ),
            "bearer_methods_supported": ["header"],
            "tls_client_certificate_bound_access_tokens": self.is_certificate_visible,
        }
        # RFC 9728, section 3.2: parameters without values are omitted.
        return {name: value for name, value in metadata.items() if value != []}


def build_metadata_url(resource: str) -> str:
    """Return the URL of the metadata of a protected resource (RFC 9728, section 3.1).

    >>> build_metadata_url("https://budkavle.example/api")
    'https://budkavle.example/.well-known/oauth-protected-resource/api'
    """
    parts = urlsplit(resource)
    return urlunsplit(parts._replace(path=METADATA_PATH + parts.path.removesuffix("/"), fragment=""))


def is_scope(text: str) -> bool:
    """Return whether a claim value is a scope that callers can request (RFC 6749, section 3.3)."""
    return _SCOPE.fullmatch(text) is not None


_SCOPE = re.compile(r"[!#-\[\]-~]+")


def _sort(values: Iterable[str]) -> list[str]:
    return sorted(set(values))
