"""Verify all credentials of a request, and combine them to one caller.

Connexion's own layer accepts the first credential that is good, and ignores the others. Here a bad credential is
rejected even if another one is good.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from connexion.middleware.security import SecurityAPI, SecurityOperation
from connexion.middleware.security import SecurityMiddleware as ConnexionSecurityMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.callers import Caller
from domain.errors import BudkavleError, LacksScope, Unauthenticated
from openapi.observation.peers import PEER
from openapi.observation.source_limits import FailureLimit
from openapi.requests import CALLER

Verify = Callable[[Scope], Awaitable[Any]]
"""A function that verifies the credential of one scheme: what a security handler returns from `get_fn`.

It returns None if the request has no such credential. Raises `Unauthenticated` for a bad one.
"""

Combine = Callable[[Sequence[frozenset[str]], Mapping[str, Any]], Caller]
"""A function that returns the caller of a request.

It receives the alternatives of the operation, each a set of names of schemes, and what `Verify` returned by scheme,
without schemes whose credential is absent. Raises `Unauthenticated` if no alternative is complete.
"""

BuildChallenges = Callable[[Sequence[frozenset[str]], BudkavleError, Scope], tuple[str, ...]]
"""A function that returns the challenges of a response (`WWW-Authenticate`) from the alternatives and the error."""


class _Operation(SecurityOperation):  # type: ignore[misc]  # Connexion has no types.
    """Verifies the caller of an operation, and stores it in the scope."""

    next_app: ASGIApp

    def __init__(
        self,
        *args: Any,
        combine: Combine,
        build_challenges: BuildChallenges,
        failures: FailureLimit,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._combine = combine
        self._build_challenges = build_challenges
        self._failures = failures
        self._alternatives = tuple(map(frozenset, self.security))

    def _get_verification_fn(self) -> tuple[tuple[str, Verify], ...]:
        """Return the functions that verify each scheme of the operation, in the order of the contract."""
        names = dict.fromkeys(name for alternative in self.security for name in alternative)
        return tuple((name, self._find_verify(name)) for name in names)

    def _find_verify(self, name: str) -> Verify:
        # Connexion asks for scopes, which only schemes of the type oauth2 have.
        verify: Verify | None = self.security_handler_factory.parse_security_scheme(self.security_schemes[name], [])
        if verify is None:
            raise ValueError(f"no security handler for the scheme {name}")
        return verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._alternatives:
            try:
                scope[CALLER] = await self._verify(scope)
            except Unauthenticated as exc:
                self._failures.count(exc, scope[PEER])
                exc.challenges = self._build_challenges(self._alternatives, exc, scope)
                raise
        try:
            await self.next_app(scope, receive, send)
        except LacksScope as exc:
            exc.challenges = self._build_challenges(self._alternatives, exc, scope)
            raise

    async def _verify(self, scope: Scope) -> Caller:
        found: dict[str, Any] = {}
        for name, verify in self.verification_fn:
            result = await verify(scope)
            if result is not None:
                found[name] = result
        return self._combine(self._alternatives, found)


class _Api(SecurityAPI):  # type: ignore[misc]  # Connexion has no types.
    """The operations of one contract."""

    def __init__(
        self,
        *args: Any,
        combine: Combine,
        build_challenges: BuildChallenges,
        failures: FailureLimit,
        **kwargs: Any,
    ) -> None:
        self._combine = combine
        self._build_challenges = build_challenges
        self._failures = failures
        super().__init__(*args, **kwargs)

    def make_operation(self, operation: Any) -> _Operation:
        return _Operation(
            self.next_app,
            security_handler_factory=self.security_handler_factory,
            security=operation.security,
            security_schemes=operation.security_schemes,
            combine=self._combine,
            build_challenges=self._build_challenges,
            failures=self._failures,
        )


class SecurityMiddleware(ConnexionSecurityMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Replaces Connexion's selection among the credentials of a request."""

    api_cls = _Api
