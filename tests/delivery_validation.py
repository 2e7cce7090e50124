"""Check deliveries and operator events against their contracts, as receivers got them, without using the service.

In tests the address for operator events has the path `OPERATOR_PATH`, which no subscription has.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema_rs

from openapi.application import read_spec
from tests.processes import REPOSITORY

OPERATOR_PATH = "/operator"

HTTP_HEADERS = frozenset({"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"})
"""Headers of HTTP itself, which the contract need not declare."""


@dataclass(frozen=True)
class RecordedDelivery:
    """One request to a receiver. `start` is its first line, such as `POST /star/webhook HTTP/1.1`."""

    start: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header == name]

    @property
    def contract(self) -> str:
        return "operator-events" if self.start.startswith(f"POST {OPERATOR_PATH} ") else "deliveries"

    def __str__(self) -> str:
        return f"delivery {self.start[:200]} {' '.join(self.values('webhook-id'))}"


def find_delivery_faults(recorded: RecordedDelivery) -> list[str]:
    """Return a sentence for each violation of the contract."""
    return [*_check_headers(recorded), *_check_body(recorded)]


def _check_headers(recorded: RecordedDelivery) -> Iterator[str]:
    method, path, version = recorded.start.split(" ")
    if method != "POST" or not path.startswith("/") or version != "HTTP/1.1":
        yield f"the request is {recorded.start!r}"
    declared = {parameter["name"]: parameter for parameter in _operation(recorded.contract)["parameters"]}
    counts = Counter(name for name, _ in recorded.headers)
    for name in sorted(set(counts) - set(declared) - HTTP_HEADERS - set(_credentials())):
        yield f"the header {name} is not documented"
    for name in sorted(name for name, count in counts.items() if count > 1):
        yield f"the header {name} occurs {counts[name]} times"
    for name, pattern in _credentials().items():
        if not all(re.fullmatch(pattern, value) for value in recorded.values(name)):
            yield f"the header {name} has another form than {pattern}"
    for name, parameter in declared.items():
        if parameter.get("required") and not counts[name]:
            yield f"the header {name} is missing"
        for value in recorded.values(name):
            for error in jsonschema_rs.Draft4Validator(parameter["schema"]).iter_errors(value):
                yield f"the header {name}: {error.message[:300]}"


def _check_body(recorded: RecordedDelivery) -> Iterator[str]:
    if recorded.values("content-type") != ["application/json"]:
        yield f"the content types are {recorded.values('content-type')}"
    if recorded.values("content-length") != [str(len(recorded.body))]:
        yield f"the content lengths are {recorded.values('content-length')}"
    if len(recorded.body) > _operation(recorded.contract)["requestBody"]["x-max-bytes"]:
        yield f"the body has {len(recorded.body)} bytes"
    try:
        value = json.loads(recorded.body.decode())
    except ValueError as exc:
        yield f"the body is not JSON: {exc}"
        return
    if json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() != recorded.body:
        yield "the body is not compact JSON, or has a name twice"
    if recorded.contract == "operator-events":
        for error in _operator_event_validator().iter_errors(value):
            yield f"the body: {'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        return
    for error in _body_validator().iter_errors(value):
        yield f"the body: {'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
    for name in sorted(value.keys() - _properties()) if isinstance(value, dict) else ():
        yield f"the property {name} is not documented"


@cache
def _operation(contract: str) -> Any:
    [path] = read_spec(REPOSITORY / "spec", contract)["paths"].values()
    return path["post"]


@cache
def _operator_event_validator() -> Any:
    """Return the validator of an event, which rejects properties that are not documented."""
    components = json.loads(json.dumps(read_spec(REPOSITORY / "spec", "operator-events")["components"]))
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    schema = {"$ref": "#/components/schemas/OperatorEvent", "components": components}
    return jsonschema_rs.Draft7Validator(schema, validate_formats=True)


@cache
def _credentials() -> dict[str, str]:
    """Return the pattern of each header that a security scheme describes."""
    schemes = read_spec(REPOSITORY / "spec", "deliveries")["components"]["securitySchemes"].values()
    return {
        scheme["name"].lower() if scheme["type"] == "apiKey" else "authorization": (
            "[!-~]([ -~]*[!-~])?" if scheme["type"] == "apiKey" else r"Bearer [A-Za-z0-9._~+/-]+=*"
        )
        for scheme in schemes
    }


@cache
def _properties() -> set[str]:
    return set(read_spec(REPOSITORY / "spec", "deliveries")["components"]["schemas"]["DeliveredEvent"]["properties"])


@cache
def _body_validator() -> Any:
    """Return the validator of the JSON Schema that receivers get."""
    schema = json.loads((REPOSITORY / "spec" / "deliveries.schema.json").read_bytes())
    return jsonschema_rs.Draft7Validator(schema, validate_formats=True)
