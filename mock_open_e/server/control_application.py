"""Assemble the control API of the mock Open-E into an ASGI application that is routed by its contract."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from mock_open_e.server import control
from mock_open_e.server.control_errors import describe, list_parse_violations, render_error, render_internal_error
from mock_open_e.server.worlds import World
from openapi.application import RenderUnknownPath, assemble, read_spec
from openapi.bodies.budget import BodyBudget
from openapi.contracts import FORM, Contract, ContractMiddleware
from openapi.error_handling import ErrorMiddleware
from openapi.errors.forms import ErrorForm
from openapi.observation.middleware import ObservationMiddleware
from openapi.requests import SERVICES
from openapi.routing import RoutingMiddleware
from openapi.start_limiter import StartLimiter
from openapi.validation import ValidationMiddleware

NAME = "mock-open-e"
"""The contract, by the name of its file."""

_BODY_BYTES = 256 * 1024 * 1024
_BODY_SECONDS = 10.0

_FORM = ErrorForm(describe, list_parse_violations, render_error, render_internal_error)

CONTRACT = Contract(_FORM, (control,))


def create_control_application(spec_dir: Path, render_unknown_path: RenderUnknownPath) -> "ControlApplication":
    """Return the control API. `ControlApplication` passes it the world of each call."""
    middlewares: list[Any] = [
        ObservationMiddleware,
        RoutingMiddleware,
        ErrorMiddleware,
        ContractMiddleware,
        ErrorMiddleware,
        ValidationMiddleware,
    ]
    application = assemble(middlewares, render_unknown_path=render_unknown_path)
    application.add_api(
        _read_contract(spec_dir),
        services=None,
        contract=CONTRACT,
        start_limiter=StartLimiter(),
        body_budget=BodyBudget(_BODY_BYTES, _BODY_SECONDS),
    )
    return ControlApplication(application)


@lru_cache(maxsize=1)
def _read_contract(spec_dir: Path) -> dict[str, Any]:
    """Return the contract, one object for all mocks of a process, so that its operations are compiled once."""
    # Connexion would mount the API at the servers in the contract, but the world is already in the path.
    return {**read_spec(spec_dir, NAME), "servers": [{"url": "/"}]}


class ControlApplication:
    """The control API as an ASGI application, which is called with a world."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send, world: World) -> None:
        # Accept any Content-Type, as before: by default curl declares JSON as a form.
        headers = [header for header in scope["headers"] if header[0] != b"content-type"]
        scope = {**scope, "headers": headers, SERVICES: world, FORM: _FORM}
        await self._application(scope, receive, send)
