"""Serve each contract as YAML, as JSON, and in Swagger UI, under `/docs`; some have a JSON Schema as well."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from openapi import replies
from openapi.pages.files import MEDIA_TYPES, create_file_route
from openapi.pages.rendering import Pages

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
<link rel="icon" href="/docs/static/icon.svg">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script>
const createKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const prepareExamples = (node, schemas) => {{
  if (node === null || typeof node !== "object") return;
  if (node.in === "header" && node.name === "Idempotency-Key") node.example = createKey();
  if (node.in === "query" && node.name === "after") delete node.example;
  const form = node["multipart/form-data"];
  if (form && form.examples) {{
    const resolve = (schema) => (schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema);
    const {{ properties }} = resolve(form.schema);
    for (const [name, example] of Object.entries(Object.values(form.examples)[0].value))
      properties[name] = {{ ...resolve(properties[name]), example: Array.isArray(example) ? [] : example }};
  }}
  for (const child of Object.values(node)) prepareExamples(child, schemas);
}};
const prepareContract = (response) => {{
  if (!response.url.endsWith("/openapi.json")) return response;
  const contract = JSON.parse(response.text);
  prepareExamples(contract, contract.components.schemas);
  response.text = JSON.stringify(contract);
  return response;
}};
const removeEmptyParts = (request) => {{
  if (request.body instanceof FormData)
    for (const [name, value] of [...request.body]) if (value === "") request.body.delete(name);
  return request;
}};
SwaggerUIBundle({{
  url: "/docs/{name}/openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  responseInterceptor: prepareContract, requestInterceptor: removeEmptyParts
}});
</script>
</body>
</html>
"""
"""The page of a contract, which changes the values that forms contain at first.

Each load has its own idempotency key, since a fixed one is used after one call. A cursor is left out. The JSON of a
multipart form is that of its example, and parts without a file are not sent: Swagger UI generates JSON from the schema,
and sends an empty part.
"""

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Budkavle</title></head>
<body><h1>Contracts</h1><ul>{items}</ul></body>
</html>
"""

_ITEM = (
    '<li><a href="/docs/{name}">{title}</a>: <a href="/docs/{name}/openapi.yaml">YAML</a>, '
    '<a href="/docs/{name}/openapi.json">JSON</a>{others}</li>'
)

_SCHEMA = ', <a href="/docs/{name}/schema.json">JSON Schema</a>'


_FOLDER = Path(__file__).parent / "pages"


def build_docs_routes(spec_dir: Path, specs: Mapping[str, Any]) -> list[BaseRoute]:
    """Return the routes of the documentation, for contracts by name."""
    items = ""
    routes: list[BaseRoute] = []
    for name, spec in specs.items():
        title = html.escape(spec["info"]["title"])
        source = (spec_dir / f"{name}.yaml").read_bytes()
        routes += [
            _create_page_route(f"/docs/{name}", _PAGE.format(title=title, name=name)),
            create_file_route(f"/docs/{name}/openapi.yaml", source, "application/yaml"),
            create_file_route(f"/docs/{name}/openapi.json", replies.to_json(spec), replies.JSON),
        ]
        schema = spec_dir / f"{name}.schema.json"
        if schema.exists():
            routes.append(
                create_file_route(f"/docs/{name}/schema.json", schema.read_bytes(), "application/schema+json")
            )
        items += _ITEM.format(name=name, title=title, others=_SCHEMA.format(name=name) if schema.exists() else "")
    routes.append(_create_page_route("/docs", _INDEX.format(items=items)))
    pages = Pages(_FOLDER / "swagger_ui", name="Budkavle", files="/docs/static")
    routes += pages.create_file_routes()
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        path = _FOLDER / "swagger_ui" / name
        routes.append(create_file_route(f"/docs/static/{name}", path, MEDIA_TYPES[path.suffix]))
    return routes


def _create_page_route(path: str, page: str) -> Route:
    async def show(_request: Request) -> Response:
        return HTMLResponse(page)

    return Route(path, show)
