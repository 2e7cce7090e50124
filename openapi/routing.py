"""Find the operation of a request among those that Connexion has registered, on undecoded paths.

Differences from Connexion's own routing, each required by the contract: the path is matched percent-encoded, so that
`%2F` is data; numbers in paths are validated with the rest and not parsed; methods outside the contract get a 405 with
all allowed ones; there are no redirects for slashes.
"""

import re
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from connexion.middleware.abstract import ROUTING_CONTEXT, AbstractRoutingAPI, SpecMiddleware
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from openapi.errors.problem_replies import render_method_not_allowed

_NO_OPERATION = {"api_base_path": None, "operation_id": None}
"""Connexion's layers pass on a request with this context to the documentation pages."""


@dataclass(slots=True)
class RoutedOperation:
    """An operation of a contract. `next_app` handles its requests.

    `context` is the routing context that Connexion's layers look up in a request.
    """

    operation_id: str
    path: str
    method: str
    context: dict[str, str]
    next_app: ASGIApp


class _Routes:
    """The operations by path and method.

    Paths without parameters take precedence (OpenAPI 3.0.3, "Path Templating Matching"), then those that were added
    earlier.
    """

    def __init__(self) -> None:
        self._literals: dict[str, dict[str, RoutedOperation]] = {}
        self._templates: dict[str, tuple[re.Pattern[str], dict[str, RoutedOperation]]] = {}
        # The same by the number of their slashes, so that few patterns are tried.
        self._by_slashes: defaultdict[int, list[tuple[re.Pattern[str], dict[str, RoutedOperation]]]] = defaultdict(list)

    def add(self, operation: RoutedOperation) -> None:
        """Add an operation."""
        path = operation.path
        if "{" in path:
            if path not in self._templates:
                self._templates[path] = _compile_template(path), {}
                self._by_slashes[path.count("/")].append(self._templates[path])
            _, operations = self._templates[path]
        else:
            operations = self._literals.setdefault(path, {})
        operations.setdefault(operation.method, operation)

    def find(self, path: str) -> tuple[dict[str, RoutedOperation], dict[str, str]] | None:
        """Return the operations of a path by method, and the values of its parameters, percent-encoded."""
        operations = self._literals.get(path)
        if operations is not None:
            return operations, {}
        for pattern, operations in self._by_slashes.get(path.count("/"), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return operations, match.groupdict()
        return None


def _compile_template(template: str) -> re.Pattern[str]:
    """Return the pattern of a path such as `/webmessages/{id}`."""
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    )


class _Api(AbstractRoutingAPI):  # type: ignore[misc]  # Connexion has no types.
    """Connexion's walk over the operations of one contract."""

    def __init__(self, specification: Specification, *, next_app: ASGIApp, **kwargs: Any) -> None:
        self._next_app = next_app
        self.operations: list[RoutedOperation] = []
        super().__init__(specification, **kwargs)

    def make_operation(self, operation: Any) -> RoutedOperation:
        context = {"api_base_path": self.base_path, "operation_id": operation.operation_id}
        path = f"{self.base_path}{operation.path}"
        return RoutedOperation(operation.operation_id, path, operation.method.upper(), context, self._next_app)

    @staticmethod
    def _framework_path_and_name(_operation: Any, path: str) -> tuple[str, str]:
        return path, path

    def _add_operation_internal(self, _method: str, _path: str, operation: RoutedOperation, **_name: Any) -> None:
        self.operations.append(operation)


class RoutingMiddleware(SpecMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Stores the operation of a request in its scope, and calls it. Requests without an operation are passed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes = _Routes()
        self.operations: list[RoutedOperation] = []

    def add_api(self, specification: Specification, **kwargs: Any) -> None:
        """Add a contract. Paths of contracts that were added earlier take precedence."""
        for operation in _Api(specification, next_app=self._app, **kwargs).operations:
            self.operations.append(operation)
            self._routes.add(operation)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Route the request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        scope["path"] = canonicalise_path(scope.get("raw_path") or scope["path"].encode())
        extensions = scope.setdefault("extensions", {})
        match = self._routes.find(scope["path"].removeprefix(scope.get("root_path", "")))
        if match is None:
            extensions[ROUTING_CONTEXT] = _NO_OPERATION
            return self._app(scope, receive, send)
        operations, path_params = match
        operation = operations.get(scope["method"])
        if operation is None:
            return render_method_not_allowed(", ".join(sorted(operations)))(scope, receive, send)
        scope["path_params"] = path_params
        extensions[ROUTING_CONTEXT] = operation.context
        return operation.next_app(scope, receive, send)


def canonicalise_path(raw_path: bytes) -> str:
    """Return a path in canonical percent-encoding, in which every literal slash is a separator.

    >>> canonicalise_path(b"/%77eb/a%2fb")
    '/web/a%2Fb'
    """
    path = raw_path.split(b"?", 1)[0]
    if b"%" not in path and path.isascii():
        return path.decode()
    return "/".join(quote(unquote_to_bytes(segment), safe="!$&'()*+,;=:@~-._") for segment in path.split(b"/"))
