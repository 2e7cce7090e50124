"""The page of the control API's contract, on which a visitor can call each operation, and the contract as a file."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import openapi.pages
from mock_open_e.server.control_application import NAME
from mock_open_e.server.specs import find_spec_dir
from openapi import replies
from openapi.application import read_spec
from openapi.docs import SWAGGER_UI_POLICY
from openapi.pages.files import MEDIA_TYPES, create_file_route
from openapi.pages.rendering import Pages
from openapi.requests import SERVICES

ADDRESS = "docs"
"""The address of the page, relative to the others."""

_SHARED = Path(openapi.pages.__file__).parent
_SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")


def create_docs_routes(pages: Pages) -> Sequence[BaseRoute]:
    """Return the routes of the page, of the contract, and of the files of Swagger UI."""

    async def show(request: Request) -> Response:
        values = {"current": ADDRESS, "world": request.scope[SERVICES].name}
        return pages.render("docs.html", values, policy=SWAGGER_UI_POLICY)

    async def send_contract(request: Request) -> Response:
        return replies.ok(_adapt(read_spec(find_spec_dir(), NAME), request.scope["root_path"]))

    own = sorted(path for path in (_SHARED / "docs").iterdir() if path.suffix in MEDIA_TYPES)
    files = [*(_SHARED / "swagger_ui" / name for name in _SWAGGER_UI), *own]
    yaml = (find_spec_dir() / f"{NAME}.yaml").read_bytes()
    return [
        Route(f"/{ADDRESS}", show),
        Route(f"/{ADDRESS}/openapi.json", send_contract),
        create_file_route(f"/{ADDRESS}/openapi.yaml", yaml, "application/yaml"),
        *(create_file_route(f"/files/{path.name}", path, MEDIA_TYPES[path.suffix]) for path in files),
    ]


def _adapt(spec: Mapping[str, Any], root_path: str) -> dict[str, Any]:
    """Return the contract with the world of the page as its only server, and without examples of optional filters.

    Swagger UI fills them in, and a search for all of them together finds nothing.
    """
    adapted: dict[str, Any] = {**copy.deepcopy(dict(spec)), "servers": [{"url": root_path or "/"}]}
    for parameter in adapted["components"]["parameters"].values():
        if not parameter.get("required") and parameter["name"] != "timeout":
            parameter.pop("example", None)
    return adapted
