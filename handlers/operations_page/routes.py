"""The addresses of the operations page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.routing import BaseRoute, Route

from handlers.operations_page import (
    deliveries,
    delivery_pauses,
    events,
    overview,
    request_search,
    sessions,
    systems,
    web_messages,
)
from handlers.operations_page.history_watch import HistoryWatch
from handlers.operations_page.operators import Operators
from handlers.operations_page.page import ROOT, SIGN_IN, Context, Endpoint, View, show_missing, show_result
from handlers.requests import Services
from handlers.security.authentication import ApiKeys
from openapi.observation.peers import TrustedProxies
from openapi.observation.source_limits import FailureLimit
from openapi.pages.rendering import Pages

FILES = f"{ROOT}/static"

LINKS = (("Overview", ROOT), ("Messages", f"{ROOT}/messages"), ("Search", f"{ROOT}/search"))


@dataclass(frozen=True, slots=True)
class OperationsOptions:
    """What the settings say: whether the page may change anything, and operators by certificate fingerprint."""

    allows_changes: bool = False
    certificates: Mapping[str, str] = field(default_factory=dict)


def build_operations_routes(
    services: Services, keys: ApiKeys, options: OperationsOptions, proxies: TrustedProxies, failures: FailureLimit
) -> list[BaseRoute]:
    """Return the routes of the page and of its files."""
    pages = Pages(Path(__file__).parent / "templates", name="Budkavle", files=FILES, home=ROOT, links=LINKS)
    operators = Operators(keys, options.certificates, services.now)
    history = HistoryWatch(services.database)
    context = Context(services, pages, operators, failures, proxies, options.allows_changes, history)

    def add(path: str, name: str, show: View | None, change: View | None = None) -> Route:
        return Route(f"{ROOT}{path}", Endpoint(context, name, show=show, change=change))

    return [
        *pages.create_file_routes(),
        Route(SIGN_IN, Endpoint(context, "sign-in", show=sessions.show_sign_in, post=sessions.sign_in, is_open=True)),
        Route(f"{ROOT}/sign-out", Endpoint(context, "sign-out", post=sessions.sign_out)),
        add("", "overview", overview.show_overview),
        add("/search", "search", request_search.search),
        add("/requests/{id}", "request", request_search.show_request),
        add("/results/{id}", "result", show_result),
        add("/systems/{id}", "system", systems.show_system),
        add("/systems/{id}/deliveries/{kind}", "list", systems.show_deliveries),
        add("/systems/{id}/replay", "replay-parked", systems.show_replay, systems.replay),
        add("/systems/{id}/pause", "pause", delivery_pauses.show_pause, delivery_pauses.pause),
        add("/systems/{id}/resume", "resume", delivery_pauses.show_resume, delivery_pauses.resume),
        add("/deliveries/{id}", "delivery", deliveries.show_delivery),
        add("/deliveries/{id}/replay", "replay", deliveries.show_replay, deliveries.replay),
        add("/events/{id}", "event", events.show_event),
        add("/messages", "messages", web_messages.show_messages),
        add("/messages/{id}", "message", web_messages.show_message),
        add("/messages/{id}/settle/{decision}", "settle", web_messages.show_settle, web_messages.settle),
        add("/{rest:path}", "missing", show_missing),
    ]
