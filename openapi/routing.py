"""Find the operation of a request: Connexion's routing, on undecoded paths.

Differences from Connexion, each required by the contract: the path is matched percent-encoded, so that `%2F` is data;
methods outside the contract get a 405 with all allowed ones; there are no redirects for slashes.
"""

import re
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from connexion.middleware.abstract import SpecMiddleware
from connexion.middleware.routing import RoutingAPI, _scope
from connexion.spec import Specification
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openapi.errors.problem_replies import method_not_allowed

_CONVERTER = re.compile(r":[a-z]+\}")


class _Api(RoutingAPI):  # type: ignore[misc]  # Connexion has no types.
    """The routes of one contract, and for each path a response to all other methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._methods: dict[str, list[str]] = {}
        super().__init__(*args, **kwargs)
        for path, methods in self._methods.items():
            self.router.routes.append(Route(path, _Refusal(sorted(methods))))

    def _add_operation_internal(self, method: str, path: str, operation: Any, name: str | None = None) -> None:  # noqa: ARG002  # Connexion's signature.
        # Connexion lets Starlette parse numbers and respond with 404 to other text; the contract requires 400.
        path = _CONVERTER.sub("}", path)
        route = Route(path, operation, methods=[method])
        # Starlette adds HEAD to GET; the contract does not.
        route.methods = {method.upper()}
        self.router.routes.append(route)
        self._methods.setdefault(path, []).append(method.upper())


class _Refusal:
    """Responds with 405."""

    def __init__(self, allowed: list[str]) -> None:
        self._allowed = ", ".join(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await method_not_allowed(self._allowed)(scope, receive, send)


class RoutingMiddleware(SpecMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Attaches the operation to a request. Requests without an operation are passed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._apis: list[_Api] = []
        self._router = Router()
        self._default: ASGIApp = app

    def add_api(self, specification: Specification, **kwargs: Any) -> None:
        """Add a contract. Paths of contracts that were added earlier take precedence."""
        api = _Api(specification, next_app=self._app, **kwargs)
        self._apis.append(api)
        routes = [route for api in self._apis for route in api.router.routes]
        self._router = Router(routes, redirect_slashes=False, default=api.router.default)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw_path = scope.get("raw_path") or scope["path"].encode()
        scope["path"] = canonical_path(raw_path)
        # Connexion looks up the original scope here, which Starlette's routes replace by copies.
        _scope.set(dict(scope))
        await self._router(scope, receive, send)


def canonical_path(raw_path: bytes) -> str:
    """Return a path in canonical percent-encoding, in which every literal slash is a separator.

    >>> canonical_path(b"/%77eb/a%2fb")
    '/web/a%2Fb'
    """
    path = raw_path.split(b"?", 1)[0]
    if b"%" not in path and path.isascii():
        return path.decode()
    return "/".join(quote(unquote_to_bytes(segment), safe="!$&'()*+,;=:@~-._") for segment in path.split(b"/"))
