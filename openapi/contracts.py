"""The configuration of each contract: the form of its errors, its handlers, and a wrapper of its operations."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from openapi.errors.forms import ErrorForm

FORM = "budkavle.error_form"
"""The key of the error form in an ASGI scope, set once the operation is known."""

WrapOperation = Callable[[ASGIApp, Mapping[str, Any], Any], ASGIApp]
"""A function that wraps an operation, given the operation, its part of the contract, and the services."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The configuration of one contract.

    `modules` contain a function for each operation: `create_web_message` for `createWebMessage`. `wrap_operation` wraps
    each operation.
    """

    form: ErrorForm
    modules: tuple[ModuleType, ...]
    wrap_operation: WrapOperation | None = None


class _Api(RoutedAPI):  # type: ignore[misc]  # Connexion has no types.
    """The operations of one contract."""

    def __init__(self, *args: Any, contract: Contract, services: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._contract = contract
        self._services = services
        self.add_paths()

    def make_operation(self, operation: Any) -> "_Operation":
        # Use the operation as published; Connexion's own has the name of the handler.
        raw = self.specification.raw["paths"][operation.path][operation.method]
        return _Operation(self._contract, raw, self._services, self.next_app)


class _Operation:
    """An operation with the form of its errors, wrapped as its contract requires."""

    def __init__(self, contract: Contract, raw: Mapping[str, Any], services: Any, next_app: ASGIApp) -> None:
        self._form = contract.form
        self._wrap = partial(_wrap_operation, contract, raw, services)
        self.next_app = next_app

    @property
    def next_app(self) -> ASGIApp:
        """The next layer, wrapped."""
        return self._app

    @next_app.setter
    def next_app(self, app: ASGIApp) -> None:
        self._app = self._wrap(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[FORM] = self._form
        return self._app(scope, receive, send)


def _wrap_operation(contract: Contract, raw: Mapping[str, Any], services: Any, app: ASGIApp) -> ASGIApp:
    return app if contract.wrap_operation is None else contract.wrap_operation(app, raw, services)


class ContractMiddleware(RoutedMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Wraps the processing of an operation, including its error responses."""

    api_cls = _Api
