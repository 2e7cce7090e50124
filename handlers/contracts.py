"""What sets the published contracts apart: the form of their errors, and whether their calls are audited."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from handlers.audit import AuditedOperation
from handlers.error_forms import ERROR_LISTS, PROBLEMS, ErrorForm
from handlers.requests import Services

FORM = "budkavle.error_form"
"""Where the form of errors stands in an ASGI scope, once the operation is known."""


@dataclass(frozen=True, slots=True)
class Contract:
    """How one contract is served."""

    form: ErrorForm
    is_audited: bool = False


CONTRACTS: Mapping[str, Contract] = {
    "operations": Contract(PROBLEMS),
    "web-messages": Contract(PROBLEMS),
    "subscriptions": Contract(ERROR_LISTS, is_audited=True),
}
"""The published contracts, by the names of their files."""


class _Api(RoutedAPI):  # type: ignore[misc]  # Connexion has no types.
    """One contract."""

    def __init__(self, *args: Any, contract: Contract, services: Services | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._contract = contract
        self._services = services
        self.add_paths()

    def make_operation(self, operation: Any) -> ASGIApp:
        app: ASGIApp = self.next_app
        # As it was published; Connexion's own operation has the name of the handler.
        raw = self.specification.raw["paths"][operation.path][operation.method]
        if self._contract.is_audited and self._services is not None and raw.get("x-audited", True):
            app = AuditedOperation(app, raw["operationId"], self._services)
        return partial(_with_form, app, self._contract.form)


async def _with_form(app: ASGIApp, form: ErrorForm, scope: Scope, receive: Receive, send: Send) -> None:
    scope[FORM] = form
    await app(scope, receive, send)


class ContractMiddleware(RoutedMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Around all that is done for an operation, answers to its errors included."""

    api_cls = _Api
