"""Link the layers of each operation directly, so that a request needs no look-up in each layer.

Each layer of a Connexion application has its own object for each operation, and finds it again for each request. After
Connexion has assembled all layers, `link` makes these objects call one another: the same code runs, without the
look-ups (decision 0001).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from connexion.middleware.abstract import RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from starlette.types import ASGIApp

from openapi.error_handling import ErrorMiddleware
from openapi.routing import RoutingMiddleware


def link(layers: Iterable[ASGIApp]) -> None:
    """Link the layers of all operations. `layers` are those of the application, the outermost first."""
    outer, *inner = _skip_to_routing(layers)
    for operation in outer.operations:
        operation.next_app = _link_operation(inner, operation.operation_id)


def _skip_to_routing(layers: Iterable[ASGIApp]) -> Sequence[Any]:
    found = list(layers)
    while not isinstance(found[0], RoutingMiddleware):
        found.pop(0)
    return found


def _link_operation(layers: Sequence[ASGIApp], operation_id: str) -> ASGIApp:
    """Return the first object of one operation, linked to those of all inner layers."""
    *outer, innermost = layers
    app = _find_operation(innermost, operation_id)
    for layer in reversed(outer):
        if isinstance(layer, ErrorMiddleware):
            app = ErrorMiddleware(app)
        elif not isinstance(layer, LifespanMiddleware):
            operation = _find_operation(layer, operation_id)
            operation.next_app = app
            app = operation
    linked: ASGIApp = app
    return linked


def _find_operation(layer: RoutedMiddleware[Any], operation_id: str) -> Any:
    """Return the object of a layer for an operation."""
    [operation] = [
        api.operations[operation_id] for apis in layer.apis.values() for api in apis if operation_id in api.operations
    ]
    return operation
