"""Connexion's security layer, without the request object of Connexion, of which our checks need only the scope."""

from typing import Any

from connexion.middleware.security import SecurityAPI, SecurityOperation
from connexion.middleware.security import SecurityMiddleware as ConnexionSecurityMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class SecuredRequest:
    """A request for the security handlers of Connexion: its scope, and the context that receives the result."""

    __slots__ = ("context", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.context: dict[str, Any] = scope["extensions"].setdefault("connexion_context", {})


class _Operation(SecurityOperation):  # type: ignore[misc]  # Connexion has no types.
    """Verifies the caller of an operation as Connexion does."""

    next_app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.security:
            await self.verification_fn(SecuredRequest(scope))
        await self.next_app(scope, receive, send)


class _Api(SecurityAPI):  # type: ignore[misc]  # Connexion has no types.
    """The operations of one contract."""

    def make_operation(self, operation: Any) -> _Operation:
        made: _Operation = _Operation.from_operation(
            operation, next_app=self.next_app, security_handler_factory=self.security_handler_factory
        )
        return made


class SecurityMiddleware(ConnexionSecurityMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Replaces the request object of Connexion, which takes longer to create than the key to be checked."""

    api_cls = _Api
