"""Authenticate callers by access token: find the token of a request, verify it, and compare its certificate."""

import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum

import structlog
from prometheus_client import Counter
from starlette.types import Scope

from domain.errors import (
    BudkavleError,
    Invalid,
    IssuerKeysMissing,
    LacksScope,
    RefusalReason,
    TokenRejected,
    Unauthenticated,
)
from handlers.issuers import AcceptedIssuers
from handlers.security.challenges import CERTIFICATE, KEY, BearerError, build_bearer_challenge
from handlers.security.client_certificates import HEADER, read_certificate
from oauth2.tokens import KeysUnavailable, TokenFault, TokenRefused, VerifiedToken
from openapi.contracts import FORM
from openapi.errors.faults import Fault
from openapi.errors.forms import PROBLEMS, ErrorForm
from openapi.observation.peers import TrustedProxies
from openapi.observation.source_limits import LineLimit

log = structlog.get_logger("budkavle.access_tokens")

AUTHORIZATION = b"authorization"

TOKEN = "budkavle.token"  # noqa: S105  # It is a key.
"""The key of the verified token in an ASGI scope."""

CERTIFICATE_SCHEME = "ClientCertificate"
TOKEN_SCHEME = "BearerToken"  # noqa: S105  # It is a name.
"""The names of security schemes in the contracts. All others are keys."""

LINES_PER_SECOND = 10
"""Maximum log lines per second about ignored headers, so that callers cannot fill the disk."""


class BindingFault(StrEnum):
    """The reason for refusing a valid token because of a client certificate, as used in logs and metrics."""

    NO_CERTIFICATE = "token_without_certificate"
    OTHER_CERTIFICATE = "token_of_other_certificate"
    NOT_BOUND = "token_not_bound"


_REFUSED = Counter("budkavle_refused_tokens", "Access tokens that were refused, by reason.", ["reason"])
for _fault in (*TokenFault, *BindingFault):
    # Create all series at start, so that rates include the first refusal.
    _REFUSED.labels(_fault)


class AccessTokens:
    """Verifies the access tokens of requests. `get_issuers` returns None if none is configured."""

    def __init__(
        self,
        get_issuers: Callable[[], AcceptedIssuers | None],
        proxies: TrustedProxies,
        now: Callable[[], datetime],
    ) -> None:
        self._get_issuers = get_issuers
        self._proxies = proxies
        self._now = now
        self._lines = LineLimit(LINES_PER_SECOND)

    async def verify(self, scope: Scope) -> VerifiedToken | None:
        """Return the verified token of a request, None if it has none.

        Raises `Invalid` for several or incomplete tokens, `TokenRejected`, and `IssuerKeysMissing`.
        """
        issuers = self._get_issuers()
        if issuers is None:
            return None
        tokens = list(self._list_tokens(issuers, scope))
        if not tokens:
            return None
        if len(tokens) > 1:
            raise _build_ambiguity(issuers, scope, "twice")
        token, header = tokens[0]
        if not token:
            raise _build_ambiguity(issuers, scope, "token")
        try:
            verified = await issuers.verifier.verify(token, header=header)
        except TokenRefused as exc:
            raise reject_token(exc.reason, str(exc)) from None
        except KeysUnavailable as exc:
            raise IssuerKeysMissing(retry_after=exc.retry_after) from exc
        if verified.certificate is not None:
            self._compare_certificate(scope, verified.certificate)
        scope[TOKEN] = verified
        return verified

    def build_challenges(
        self, alternatives: Sequence[frozenset[str]], error: BudkavleError, scope: Scope
    ) -> tuple[str, ...]:
        """Return the challenges of an error of an operation (`openapi.security.BuildChallenges`)."""
        issuers = self._get_issuers()
        url = None if issuers is None else issuers.metadata_url
        if isinstance(error, LacksScope):
            token: VerifiedToken | None = scope.get(TOKEN)
            if token is None:
                return ()
            scopes = token.issuer.find_granting_values(error.scope)
            return (build_bearer_challenge(url, BearerError.INSUFFICIENT_SCOPE, str(error), scopes),)
        # A certificate alone suffices where a token needs one as well.
        schemes = {scheme for alternative in alternatives if len(alternative) == 1 for scheme in alternative}
        challenges = []
        if isinstance(error, TokenRejected):
            challenges.append(build_bearer_challenge(url, BearerError.INVALID_TOKEN, str(error)))
        elif issuers is not None and issuers.reads_authorization and TOKEN_SCHEME in schemes:
            challenges.append(build_bearer_challenge(url))
        if CERTIFICATE_SCHEME in schemes:
            challenges.append(CERTIFICATE)
        if schemes - {TOKEN_SCHEME, CERTIFICATE_SCHEME}:
            challenges.append(KEY)
        return tuple(challenges)

    def _list_tokens(self, issuers: AcceptedIssuers, scope: Scope) -> Iterator[tuple[bytes, str | None]]:
        """Yield the tokens of a request with the headers of gateways; an empty token after `Bearer` alone."""
        credentials = []
        for name, value in scope["headers"]:
            if name == AUTHORIZATION and issuers.reads_authorization:
                credentials += _JOINED.split(value)
            elif name in issuers.gateway_headers:
                header = issuers.gateway_headers[name]
                if self._proxies.contains(scope["client"] and scope["client"][0]):
                    yield value.strip(), header
                else:
                    self._log_ignored_header(header, scope)
        tokens = [token for value in credentials if (token := _read_bearer_token(value)) is not None]
        if tokens and len(credentials) > 1:
            # Proxies and services may read different ones, also if one has another scheme.
            yield b"", None
        yield from ((token, None) for token in tokens)

    def _compare_certificate(self, scope: Scope, thumbprint: str) -> None:
        # The header is trustworthy here: `ClientCertificateMiddleware` has replaced it, and leaves at most one.
        given = next((value for name, value in scope["headers"] if name == HEADER), None)
        try:
            fingerprint = None if given is None else read_certificate(given, self._now())
        except Unauthenticated:
            fingerprint = None
        if fingerprint is None:
            raise reject_token(
                BindingFault.NO_CERTIFICATE,
                "The token is bound to a client certificate, and the request has no valid one",
            )
        if not hmac.compare_digest(fingerprint, thumbprint):
            raise reject_token(BindingFault.OTHER_CERTIFICATE, "The token is bound to another client certificate")

    def _log_ignored_header(self, header: str, scope: Scope) -> None:
        suppressed = self._lines.admit_line()
        if suppressed is not None:
            log.warning(
                "token_header_ignored",
                header=header,
                peer=scope["client"] and scope["client"][0],
                request_id=scope.get("budkavle.request_id"),
                **({"suppressed": suppressed} if suppressed else {}),
            )


def reject_token(fault: TokenFault | BindingFault, description: str) -> TokenRejected:
    """Return the error for a refused token, after counting it. `description` contains no part of the token."""
    _REFUSED.labels(fault).inc()
    return TokenRejected(RefusalReason.INVALID_TOKEN, description, fault)


def _read_bearer_token(value: bytes) -> bytes | None:
    """Return the token of one credential, None for another scheme."""
    # Readers differ in whether a tab ends the scheme, and each token must be verified.
    scheme, *rest = value.strip().replace(b"\t", b" ").split(b" ", 1)
    if scheme.lower() != b"bearer":
        return None
    return rest[0].strip() if rest else b""


_JOINED = re.compile(rb",[ \t]*(?=[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]|bearer$)", re.IGNORECASE)
"""The comma with which a proxy joins two headers `Authorization`: a scheme follows, and no parameter of one."""


def _build_ambiguity(issuers: AcceptedIssuers, scope: Scope, keyword: str) -> Invalid:
    form: ErrorForm = scope.get(FORM, PROBLEMS)
    violation = form.describe(Fault(["Authorization"], keyword), "")
    error = Invalid([] if violation is None else [violation])
    error.challenges = (build_bearer_challenge(issuers.metadata_url, BearerError.INVALID_REQUEST),)
    return error
