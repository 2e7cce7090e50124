"""Write the JSON Schema of the body of a delivery, from its contract.

python -m tests.delivery_schema
"""

import json
from typing import Any

from openapi.application import read_spec
from tests.processes import REPOSITORY

PATH = REPOSITORY / "spec" / "deliveries.schema.json"
STANDARD = "http://json-schema.org/draft-07/schema#"


def build_schema() -> str:
    """Return the schema as it is in the repository."""
    schema = read_spec(REPOSITORY / "spec", "deliveries")["components"]["schemas"]["DeliveredEvent"]
    converted = {"$schema": STANDARD, "title": "DeliveredEvent", **_convert(schema)}
    return json.dumps(converted, ensure_ascii=False, indent=2) + "\n"


def _convert(node: Any) -> Any:
    """Return a schema of OpenAPI 3.0 as JSON Schema, which has `examples`, and no formats of integers.

    The other keywords of the contract mean the same in both.
    """
    if isinstance(node, list):
        return [_convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    converted = {}
    for name, value in node.items():
        if name == "example":
            converted["examples"] = [value]
        elif (name, value) != ("format", "int32"):
            converted[name] = _convert(value)
    return converted


if __name__ == "__main__":
    PATH.write_text(build_schema())
