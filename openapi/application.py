"""Assemble contracts into one ASGI application, with only those layers of Connexion that a request needs."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import inflection
import yaml
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.main import API
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openapi.contracts import Contract
from openapi.docs import Docs
from openapi.errors import problem_replies
from openapi.linking import link
from openapi.pages.preferences import prefers_html
from openapi.requests import Handler
from openapi.validation import REQUEST

RenderUnknownPath = Callable[[Request, str], Response]
"""A function that returns a page for a path of no contract. The text states the problem."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def assemble(
    middlewares: list[Any],
    docs: Docs | None = None,
    routes: Sequence[BaseRoute] = (),
    *,
    render_unknown_path: RenderUnknownPath | None = None,
    is_linked: bool = True,
    **options: Any,
) -> Any:
    """Return Connexion with these layers, our handlers, the pages of the contracts and further routes.

    Contracts are added to it later. `render_unknown_path` returns the page at paths of no contract, by default that of
    `docs`. With `is_linked`, the layers of an operation call one another directly.
    """
    if docs is not None:
        routes = [*routes, *docs.create_routes()]
        render_unknown_path = docs.render_unknown_path
    application = _Application(_Handlers(routes, render_unknown_path), middlewares=middlewares, **options)
    application.is_linked = is_linked
    return application


def read_spec(spec_dir: Path, name: str) -> dict[str, Any]:
    """Return a contract by the name of its file, not to be changed: a process parses it once."""
    return _parse_spec((spec_dir / f"{name}.yaml").read_bytes())


@lru_cache(maxsize=16)
def _parse_spec(text: bytes) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.load(text, Loader=_YamlLoader)  # noqa: S506  # Either loader is a safe one.
    return spec


# The loader in C parses a contract ten times faster.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PublishedContract(OpenAPISpecification):  # type: ignore[misc]  # Connexion has no types.
    """A contract of this program, which is not validated at start, because `make check` validates it.

    Validation would take a fifth of a second, most of the start-up time.
    """

    def __init__(self, raw_spec: dict[str, Any]) -> None:
        super().__init__(raw_spec)
        self.compiled: dict[Hashable, Any] = {}
        """What the layers have compiled from it, for all applications of this process."""

    @classmethod
    def _validate_spec(cls, spec: dict[str, Any]) -> None:
        pass


class _SameSpec:
    """A contract as a key, which equals only that of the same object."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameSpec) and other.spec is self.spec

    def __hash__(self) -> int:
        return id(self.spec)


@lru_cache(maxsize=16)
def _prepare_contract(key: _SameSpec) -> _PublishedContract:
    """Resolve the references of a contract. Like `read_spec`, a process does so once."""
    return _PublishedContract(key.spec)


class _Application(ConnexionMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """Connexion for contracts of this program."""

    is_linked: bool

    def _build_middleware_stack(self) -> tuple[ASGIApp, Iterable[ASGIApp]]:
        application, layers = super()._build_middleware_stack()
        if self.is_linked:
            link(layers)
        return application, layers

    def add_api(self, specification: dict[str, Any], **options: Any) -> None:
        """Add a contract, which must not be changed. `options` are passed on to the middlewares."""
        resolver = _HandlerResolver(options["contract"])
        options = {**self.options.__dict__, "resolver": resolver, **options}
        self.apis.append(API(_prepare_contract(_SameSpec(specification)), base_path=None, **options))


class _HandlerResolver(Resolver):  # type: ignore[misc]  # Connexion has no types.
    """Maps the published id `createWebMessage` to the function `create_web_message` in the modules of a contract."""

    def __init__(self, contract: Contract) -> None:
        self._modules = contract.modules
        super().__init__(self._find)

    def resolve_operation_id(self, operation: Any) -> str:
        name: str = inflection.underscore(operation.operation_id)
        return name

    def _find(self, name: str) -> Handler:
        found: list[Handler] = [vars(module)[name] for module in self._modules if name in vars(module)]
        if len(found) != 1:
            raise ValueError(f"{len(found)} handlers are called {name}")
        return found[0]


class _HandlerApi(RoutedAPI):  # type: ignore[misc]  # Connexion has no types.
    """The handlers of one contract."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_paths()

    def make_operation(self, operation: Any) -> ASGIApp:
        return partial(_call, operation.function)


async def _call(handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    response = await handler(scope[REQUEST])
    await response(scope, receive, send)


class _Handlers(RoutedMiddleware):  # type: ignore[misc]  # Connexion has no types.
    """The innermost layer: it calls the handler of an operation, or else serves the documentation pages."""

    api_cls = _HandlerApi

    def __init__(self, routes: Sequence[BaseRoute], render_unknown_path: RenderUnknownPath | None) -> None:
        default = partial(_respond_not_found, render_unknown_path)
        super().__init__(Router(routes, redirect_slashes=False, default=default))


async def _respond_not_found(render: RenderUnknownPath | None, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    response = problem_replies.render_not_found()
    if render is not None and prefers_html(scope["headers"]):
        response = render(Request(scope), problem_replies.UNKNOWN_PATH)
    await response(scope, receive, send)
