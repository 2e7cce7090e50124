"""The inbox of the mock Open-E: pages with messages, calls, faults and conditions, which use the control API."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mock_open_e import FAULT_KINDS, INSTANCES, OPERATION_NAMES
from mock_open_e.behaviour.orders import READING
from mock_open_e.server import docs_page
from openapi.pages.rendering import Pages
from openapi.requests import SERVICES

_FOLDER = Path(__file__).parent / "inbox"

_MENU = (("Messages", "./"), ("Calls", "calls"), ("Faults", "faults"), ("Conditions", "conditions"))
"""The pages, with relative addresses, which are valid below each name."""


def create_pages() -> Pages:
    """Return the pages in one design, with relative addresses."""
    links = (*_MENU, ("Control API", docs_page.ADDRESS))
    return Pages(_FOLDER, name="Mock Open-E", files="files", home="./", links=links)


def create_page_routes(pages: Pages) -> Sequence[BaseRoute]:
    """Return the routes of the pages and their files. The scope of each call has the world."""
    return [
        *(_create_route(pages, title, address) for title, address in _MENU),
        *docs_page.create_docs_routes(pages),
        *pages.create_file_routes(),
    ]


def _create_route(pages: Pages, title: str, address: str) -> Route:
    name = title.lower()

    async def show(request: Request) -> Response:
        return pages.render(f"{name}.html", {"current": address, "script": f"{name}.js", **_get_values(request)})

    return Route("/" if name == "messages" else f"/{address}", show)


def _get_values(request: Request) -> dict[str, Any]:
    world = request.scope[SERVICES]
    return {
        "world": world.name,
        "others": [name for name in world.list_names() if name != world.name],
        "address": str(request.base_url),
        "instances": INSTANCES,
        "kinds": FAULT_KINDS,
        "operations": [name for name in OPERATION_NAMES if name != READING],
        "reading": READING,
    }
