"""Serve each contract as YAML, as JSON, and in Swagger UI, under `/docs`; some have a JSON Schema as well.

Browsers also get a front page at `/`, and a page instead of a problem at other paths of no contract.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from openapi import replies
from openapi.pages.errors import ErrorPages
from openapi.pages.files import MEDIA_TYPES, create_file_route
from openapi.pages.rendering import POLICY, Pages

FILES = "/docs/static"
_FOLDER = Path(__file__).parent / "pages"
_SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")

SWAGGER_UI_POLICY = {name: sources for name, sources in POLICY.items() if name != "require-trusted-types-for"}
"""Swagger UI sets the HTML of descriptions, which it sanitises, without a trusted type."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The additions to the pages of a demo.

    `credentials` are values that the API pages fill in, by name of the security scheme. `links` are texts and addresses
    of other pages.
    """

    credentials: Mapping[str, str] = field(default_factory=dict)
    links: Collection[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class _Contract:
    """The properties of a contract that the pages show.

    `is_served` is false for an API that others provide. Every second part of `summary` is code. `reads` are the paths
    and summaries of operations that a browser can open.
    """

    name: str
    title: str
    version: str
    summary: tuple[str, ...]
    operations: int
    is_served: bool
    has_schema: bool
    reads: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, name: str, title: str, spec: Mapping[str, Any], *, is_served: bool, has_schema: bool) -> Self:
        operations = [
            (path, method, operation)
            for path, methods in spec["paths"].items()
            for method, operation in methods.items()
            if method in {"get", "put", "post", "delete", "patch"}
        ]
        info = spec["info"]
        sentence = re.split(r"(?<=\.)\s", info.get("description", ""), maxsplit=1)[0]
        return cls(
            name=name,
            title=title,
            version=info["version"],
            summary=tuple(sentence.split("`")),
            operations=len(operations),
            is_served=is_served,
            has_schema=has_schema,
            reads=tuple(
                (path, operation["summary"])
                for path, method, operation in operations
                if method == "get" and operation.get("security") == [] and "{" not in path and not path.startswith("/.")
            ),
        )


class Docs:
    """The pages of the contracts of one application."""

    def __init__(
        self,
        spec_dir: Path,
        specs: Mapping[str, Any],
        *,
        described: Collection[str] = (),
        english_titles: Mapping[str, str] | None = None,
        name: str = "Budkavle",
        demo: Demo | None = None,
        links: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`specs` are the contracts by name; those in `described` are of APIs that others provide.

        `english_titles` are those of contracts whose published title is in another language, which follows.
        `links` are texts and addresses of other pages of the application, for the menu.
        """
        self._spec_dir = spec_dir
        self._specs = specs
        self._demo = demo
        contracts = []
        for each, spec in specs.items():
            published = spec["info"]["title"]
            english = (english_titles or {}).get(each)
            title = f"{english} ({published})" if english else published
            has_schema = (spec_dir / f"{each}.schema.json").exists()
            is_served = each not in described
            contracts.append(_Contract.read(each, title, spec, is_served=is_served, has_schema=has_schema))
        self._contracts = sorted(contracts, key=lambda contract: -contract.operations)
        self._pages = Pages(
            _FOLDER / "docs", name=name, files=FILES, links=[("Home", "/"), ("API pages", "/docs"), *links]
        )
        self._errors = ErrorPages(self._pages, [("See all API pages", "/docs"), ("Go to the front page", "/")])

    def create_routes(self) -> list[BaseRoute]:
        """Return the routes under `/docs`."""
        routes: list[BaseRoute] = [Route("/docs", self._respond(self._render_contracts))]
        for contract in self._contracts:
            path, source = f"/docs/{contract.name}", self._spec_dir / f"{contract.name}.yaml"
            routes += [
                Route(path, self._respond(self._render_contract, contract)),
                create_file_route(f"{path}/openapi.yaml", source.read_bytes(), "application/yaml"),
                create_file_route(f"{path}/openapi.json", replies.to_json(self._specs[contract.name]), replies.JSON),
            ]
            if contract.has_schema:
                schema = source.with_suffix(".schema.json").read_bytes()
                routes.append(create_file_route(f"{path}/schema.json", schema, "application/schema+json"))
        files = [_FOLDER / "swagger_ui" / each for each in _SWAGGER_UI]
        routes += [create_file_route(f"{FILES}/{path.name}", path, MEDIA_TYPES[path.suffix]) for path in files]
        return routes + self._pages.create_file_routes()

    def render_unknown_path(self, request: Request, problem: str) -> Response:
        """Return the front page for `/`, otherwise a 404 as a page. `problem` is its text."""
        if request.url.path == "/" and request.method in {"GET", "HEAD"}:
            front = {"contracts": self._contracts, "demo": self._demo, "current": "/"}
            return self._pages.render("front.html", front, cache_control=None)
        return self._errors.render(request, problem, cache_control=None)

    def _render_contracts(self) -> Response:
        values = {"contracts": self._contracts, "current": "/docs"}
        return self._pages.render("contracts.html", values, cache_control="no-cache")

    def _render_contract(self, contract: _Contract) -> Response:
        credentials = dict(self._demo.credentials) if self._demo else {}
        values = {"contract": contract, "credentials": json.dumps(credentials), "demo": self._demo}
        return self._pages.render("contract.html", values, policy=SWAGGER_UI_POLICY, cache_control="no-cache")

    @staticmethod
    def _respond(render: Callable[..., Response], *arguments: Any) -> Any:
        async def respond(_request: Request) -> Response:
            return render(*arguments)

        return respond
