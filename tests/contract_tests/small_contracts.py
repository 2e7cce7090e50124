"""Build small contracts to change."""

import copy
from typing import Any

from contract_tests.compatibility import differences

GONE = object()
"""A placeholder for a value that is removed."""

PLAIN: dict[str, Any] = {
    "security": [{"Key": []}],
    "paths": {
        "/things/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "put": {
                "operationId": "setThing",
                "x-scope": "things",
                "tags": ["Things"],
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                    {"$ref": "#/components/parameters/Trace"},
                ],
                "requestBody": {
                    "x-max-bytes": 1000,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                        "multipart/form-data": {
                            "schema": {"type": "object"},
                            "encoding": {"a": {"contentType": "text/plain"}},
                        },
                    },
                },
                "responses": {
                    "200": {
                        "headers": {"Link": {"required": True, "schema": {"type": "string"}}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                            "text/plain": {"schema": {"type": "string"}},
                        },
                        "links": {"Again": {"operationId": "setThing", "parameters": {"id": "$request.path.id"}}},
                    },
                    "204": {"description": "Nothing to say."},
                    "400": {"$ref": "#/components/responses/Bad"},
                },
            },
            "delete": {"operationId": "deleteThing", "responses": {"400": {"$ref": "#/components/responses/Bad"}}},
        },
    },
    "components": {
        "securitySchemes": {
            "Key": {"type": "apiKey", "in": "header", "name": "key"},
            "Card": {"type": "apiKey", "in": "header", "name": "card"},
        },
        "parameters": {"Trace": {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}},
        "responses": {"Bad": {"content": {"text/plain": {"schema": {"type": "string", "enum": ["bad", "worse"]}}}}},
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string", "description": "Its name."},
                    "size": {"$ref": "#/components/schemas/Size"},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                },
            },
            "Size": {"type": "integer", "minimum": 0},
        },
    },
}
"""A contract with one path and two operations, with one of everything that is compared."""


def change_contract(contract: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return the contract with a value replaced; names are separated by ` > `, and list indexes count as names."""
    new: dict[str, Any] = copy.deepcopy(contract)
    *way, last = [int(name) if name.isdecimal() and len(name) < 3 else name for name in place.split(" > ")]
    node: Any = new
    for name in way:
        node = node[name]
    if value is GONE:
        del node[last]
    elif isinstance(node, list):
        node.insert(last, value)
    else:
        node[last] = value
    return new


def list_lines(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in differences(old, new)]


def build_contract(schema: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a contract whose only operation receives and returns a schema."""
    content = {"content": {"application/json": {"schema": schema}}}
    operation = {"operationId": "echo", "requestBody": content, "responses": {"200": content}}
    return {"paths": {"/echo": {"post": operation}}, "components": {"schemas": schemas or {}}}


def compare_by_side(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the findings of a schema change in a contract of `with_schema`: for requests, and for responses."""
    reported = list_lines(old, new)
    requests = [line.removeprefix("echo body application/json") for line in reported if line.startswith("echo body")]
    responses = [line.removeprefix("echo 200 application/json") for line in reported if line.startswith("echo 200")]
    assert len(requests) + len(responses) == len(reported), reported
    return requests, responses
