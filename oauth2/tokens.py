"""The outcomes of verification: a verified token, or the reason why there is none."""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import BudkavleError
from oauth2.issuers import Issuer


class TokenFault(StrEnum):
    """The reason for refusing a token, as used in logs and metrics."""

    TOO_LARGE = "token_too_large"
    MALFORMED = "token_malformed"
    UNKNOWN_ISSUER = "token_of_unknown_issuer"
    WRONG_TYPE = "token_of_wrong_type"
    WRONG_ALGORITHM = "token_with_wrong_algorithm"
    UNKNOWN_KEY = "token_with_unknown_key"
    WRONG_SIGNATURE = "token_with_wrong_signature"
    WRONG_AUDIENCE = "token_for_other_audience"
    EXPIRED = "token_expired"
    NOT_YET_VALID = "token_not_yet_valid"
    WRONG_CLAIM = "token_with_wrong_claim"


class TokenRefused(BudkavleError):
    """The token is not accepted. The message contains no part of it, and only characters of RFC 6750, section 3."""

    def __init__(self, reason: TokenFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class KeysUnavailable(BudkavleError):
    """The keys of the issuer could not be loaded yet; retry later."""

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        """Seconds until the next attempt to load them, at least 1."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """An access token whose signature and claims are valid."""

    issuer: Issuer
    client: str
    """The claim `client_id`, otherwise `azp`, otherwise `sub`: printable, at most 255 characters."""
    scopes: frozenset[str]
    """Scopes of the service, as the issuer's `scope_map` grants them."""
    systems: frozenset[str]
    """Ids of systems in lower case; none if the issuer has no `system_claim`."""
    expires: float
    """Seconds since 1970 at which the token ends, including the clock tolerance."""
    certificate: str | None = None
    """SHA-256 of the client certificate to which the token is bound (RFC 8705), in lower-case hex."""

    @property
    def caller(self) -> str:
        """Return the name of the caller for logs and the audit log."""
        return f"{self.issuer.issuer}#{self.client}"
