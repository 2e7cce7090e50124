"""Assemble the contracts into one ASGI application, with only those layers of Connexion that a request needs."""

import collections
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connexion.middleware.lifespan import LifespanMiddleware
from starlette.types import ASGIApp

from domain.tracing import Tracer
from handlers.contracts import CONTRACTS, DEFAULT, DESCRIBED, ENGLISH_TITLES
from handlers.errors.forms import ERROR_LISTS
from handlers.requests import Services
from handlers.security.access_tokens import AccessTokens
from handlers.security.authentication import ApiKeys, build_security_map, combine
from handlers.security.client_certificates import ClientCertificateMiddleware
from openapi.application import Lifespan, assemble, read_spec
from openapi.bodies.budget import BodyBudget
from openapi.contracts import ContractMiddleware
from openapi.docs import Demo, Docs
from openapi.error_handling import ErrorMiddleware
from openapi.observation.log_names import LogNames
from openapi.observation.middleware import ObservationMiddleware
from openapi.observation.peers import TrustedProxies
from openapi.observation.source_limits import FailureLimit
from openapi.routing import RoutingMiddleware
from openapi.security import SecurityMiddleware
from openapi.start_limiter import StartLimiter
from openapi.validation import ValidationMiddleware

if TYPE_CHECKING:
    from handlers.operations_page.routes import OperationsOptions


def create_application(
    spec_dir: Path,
    services: Services,
    keys: ApiKeys,
    *,
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    lifespan: Lifespan | None = None,
    contracts: Collection[str] = DEFAULT,
    body_budget: BodyBudget,
    failures: FailureLimit,
    is_linked: bool = True,
    tracer: Tracer | None = None,
    operations: "OperationsOptions | None" = None,
    demo: Demo | None = None,
) -> ASGIApp:
    """Return the service as an ASGI application, optionally with some of its contracts only.

    With `operations`, it serves the operations page.

    Forwarding headers are trusted from `trusted_proxies` only. With `is_linked`, the layers of an operation call one
    another directly. `demo` is what the pages of a demo offer in addition. Raises `ValueError` if contracts share an
    operation id, because they would also share its security.
    """
    specs = {name: read_spec(spec_dir, name) for name in contracts}
    described = {other: read_spec(spec_dir, other) for name in contracts for other in DESCRIBED.get(name, ())}
    proxies = TrustedProxies(trusted_proxies)
    tokens = AccessTokens(services.get_issuers, proxies, services.now)
    _check_unique_ids(specs)
    middlewares: list[Any] = [
        partial(
            ObservationMiddleware,
            names=LogNames(specs.values()),
            proxies=proxies,
            is_draining=services.is_draining,
            form_of_v1=ERROR_LISTS,
            tracer=tracer,
        ),
        partial(ClientCertificateMiddleware, proxies=proxies),
        RoutingMiddleware,
        ErrorMiddleware,
        ContractMiddleware,
        # This layer is added twice: errors within an operation must become responses before they are audited.
        ErrorMiddleware,
        SecurityMiddleware,
        ValidationMiddleware,
        LifespanMiddleware,
    ]
    pages: list[Any] = []
    links: list[tuple[str, str]] = []
    if operations is not None:
        # Programs without this page do not wait for its imports.
        from handlers.operations_page.routes import build_operations_routes

        pages = build_operations_routes(services, keys, operations, proxies, failures)
        links = [("Operations page", "/operations")]
    application = assemble(
        middlewares,
        Docs(spec_dir, specs | described, described=described, english_titles=ENGLISH_TITLES, demo=demo, links=links),
        pages,
        is_linked=is_linked,
        lifespan=lifespan,
        security_map=build_security_map(keys, tokens, services),
    )
    start_limiter = StartLimiter()
    for name, spec in specs.items():
        application.add_api(
            spec,
            services=services,
            contract=CONTRACTS[name],
            start_limiter=start_limiter,
            body_budget=body_budget,
            combine=combine,
            build_challenges=tokens.build_challenges,
            failures=failures,
        )
    served: ASGIApp = application
    return served


def _check_unique_ids(specs: Mapping[str, Any]) -> None:
    ids = collections.Counter(
        operation["operationId"]
        for spec in specs.values()
        for path in spec["paths"].values()
        for operation in path.values()
    )
    shared = [operation_id for operation_id, count in ids.items() if count > 1]
    if shared:
        raise ValueError(f"operation ids are shared: {', '.join(shared)}")
