"""Connect the parts of each operation directly to one another, so that a request skips the layers between them.

Connexion gives each layer of an application its own part for each operation, and each layer looks up its part for each
request. After Connexion has assembled all layers, `link` makes the parts call one another: the same code runs, without
the look-ups (decision 0001).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from connexion.middleware.abstract import RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from starlette.types import ASGIApp

from openapi.error_handling import ErrorMiddleware
from openapi.routing import RoutingMiddleware


def link(layers: Iterable[ASGIApp]) -> None:
    """Connect the parts of all operations. `layers` are those of the application, the outermost first."""
    outer, *inner = _from_routing(layers)
    for operation in outer.operations:
        operation.next_app = _linked(inner, operation.operation_id)


def _from_routing(layers: Iterable[ASGIApp]) -> Sequence[Any]:
    found = list(layers)
    while not isinstance(found[0], RoutingMiddleware):
        found.pop(0)
    return found


def _linked(layers: Sequence[ASGIApp], operation_id: str) -> ASGIApp:
    """Return the chain of the parts of one operation."""
    *outer, innermost = layers
    app = _part_of(innermost, operation_id)
    for layer in reversed(outer):
        if isinstance(layer, ErrorMiddleware):
            app = ErrorMiddleware(app)
        elif not isinstance(layer, LifespanMiddleware):
            part = _part_of(layer, operation_id)
            part.next_app = app
            app = part
    linked: ASGIApp = app
    return linked


def _part_of(layer: RoutedMiddleware[Any], operation_id: str) -> Any:
    """Return the part of a layer for an operation."""
    [part] = [
        api.operations[operation_id] for apis in layer.apis.values() for api in apis if operation_id in api.operations
    ]
    return part
