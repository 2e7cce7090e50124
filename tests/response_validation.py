"""Check responses against the published contracts, without using code of the service."""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from budkavle.setting_values import COMPATIBILITY_APIS
from openapi.application import read_spec
from tests.processes import REPOSITORY

HTTP_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "date", "connection"})
"""Headers of HTTP itself, which contracts need not declare."""
NO_BODY = frozenset({204, 304})
TEXT = {"required": True, "schema": {"type": "string"}}
OPTIONAL_TEXT = {"schema": {"type": "string"}}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
WORLD = "[A-Za-z0-9._-]{1,64}"
BOUNDS = {"int32": 2**31, "int64": 2**63}


@dataclass(frozen=True)
class RecordedResponse:
    """One response with its request.

    A body of None was incomplete; the body of a HEAD is the one that GET would have.
    """

    method: str
    path: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | None

    def values(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header == name]

    def __str__(self) -> str:
        return f"{self.method} {self.path[:200]} -> {self.status}"


class PublishedContracts:
    """Contracts that are served together.

    With `is_mock`: also in named worlds, with HEAD next to GET, and next to Open-E.
    """

    def __init__(self, *names: str, problem: dict[str, Any], is_mock: bool = False) -> None:
        self._specs = [read_spec(REPOSITORY / "spec", name) for name in names]
        self._is_mock = is_mock
        self._unknown = {"application/problem+json": {"schema": problem}}
        # Keep each validator together with its schema, so that the schema's address in memory is not reused.
        self._validators: dict[int, tuple[Any, Any]] = {}

    def find_faults(self, recorded: RecordedResponse) -> list[str]:
        """Return a sentence for each violation of the contracts."""
        segments = recorded.path.split("?", 1)[0].split("/")[1:] or [recorded.path]
        if self._is_mock and len(segments) > 2 and segments[0] == "s" and re.fullmatch(WORLD, segments[1]):
            segments = segments[2:]
        first = unquote(segments[0])
        # Pages for people are in no contract.
        if first != "control" if self._is_mock else first in {"docs", "operations"}:
            return []
        spec, methods = self._find(segments)
        return list(self._check_response(recorded, spec, methods, is_v1=first == "v1"))

    def _find(self, segments: list[str]) -> tuple[Any, dict[str, Any] | None]:
        """Return the contract and its operations at a path, by method; the path with the fewest parameters wins."""
        found = [
            (path.count("{"), index, path)
            for index, spec in enumerate(self._specs)
            for path in spec["paths"]
            if _fits(path.split("/")[1:], segments)
        ]
        if not found:
            return self._specs[0], None
        _, index, path = min(found)
        return self._specs[index], {method.upper(): each for method, each in self._specs[index]["paths"][path].items()}

    def _check_response(
        self, recorded: RecordedResponse, spec: Any, methods: dict[str, Any] | None, *, is_v1: bool
    ) -> Iterator[str]:
        allowed = set(methods or ()) | ({"HEAD"} if self._is_mock and "GET" in (methods or ()) else set())
        if methods is None or recorded.method not in allowed:
            yield from self._check_undocumented(recorded, allowed, is_v1=is_v1)
            return
        responses = methods["GET" if recorded.method == "HEAD" else recorded.method]["responses"]
        response = responses.get(str(recorded.status), responses.get("default"))
        if response is None:
            yield f"the status is none of {', '.join(responses)}"
            return
        response = _resolve(spec, response)
        yield from self._check_headers(recorded, spec, response.get("headers", {}))
        yield from self._check_body(recorded, spec, response.get("content", {}))

    def _check_undocumented(self, recorded: RecordedResponse, allowed: set[str], *, is_v1: bool) -> Iterator[str]:
        """Check the response to a path or method that no contract has: a 404, or a 405 with the allowed methods."""
        wanted = 405 if allowed else 404
        if not allowed and recorded.values("content-type") == ["text/html; charset=utf-8"]:
            # A page for a browser (decision 0041).
            if recorded.status != (200 if recorded.path == "/" else 404):
                yield f"the status of a page at a path of no contract is {recorded.status}"
            return
        if recorded.status != wanted:
            yield f"the status is not {wanted}, although no contract has this operation"
        headers = {"x-requestId" if is_v1 else "x-request-id": TEXT, "Cache-Control": OPTIONAL_TEXT}
        if allowed:
            headers["Allow"] = TEXT
            listed = {name.strip() for value in recorded.values("allow") for name in value.split(",")}
            if listed != allowed:
                yield f"Allow lists {sorted(listed)}, the contract {sorted(allowed)}"
        yield from self._check_headers(recorded, self._specs[0], headers)
        yield from self._check_body(recorded, self._specs[0], self._unknown)

    def _check_headers(self, recorded: RecordedResponse, spec: Any, headers: Mapping[str, Any]) -> Iterator[str]:
        documented = {name.lower(): _resolve(spec, header) for name, header in headers.items()}
        counts = Counter(name for name, _ in recorded.headers)
        for name in sorted(set(counts) - set(documented) - HTTP_HEADERS):
            yield f"the header {name} is not documented"
        for name, header in documented.items():
            if counts[name] > 1:
                yield f"the header {name} occurs {counts[name]} times"
            elif not counts[name]:
                if header.get("required"):
                    yield f"the header {name} is missing"
            else:
                text = recorded.values(name)[0]
                is_integer = header["schema"].get("type") == "integer" and text.isdecimal()
                for fault in self._validate(spec, header["schema"], int(text) if is_integer else text):
                    yield f"the header {name} is {text!r}: {fault}"

    def _check_body(self, recorded: RecordedResponse, spec: Any, content: Mapping[str, Any]) -> Iterator[str]:
        types = recorded.values("content-type")
        if not content or recorded.status in NO_BODY:
            if recorded.body or types:
                yield f"there is a body of {len(recorded.body or b'')} bytes with the type {types}, but none is allowed"
            return
        if len(types) != 1:
            yield f"the content types are {types}, but exactly one is required"
            return
        name = types[0].split(";")[0].strip()
        media_type = content.get(name, content.get("*/*"))
        if media_type is None:
            yield f"the content type {name!r} is none of {', '.join(content)}"
            return
        if recorded.body is None or recorded.method == "HEAD" or media_type["schema"].get("format") == "binary":
            return
        try:
            text = recorded.body.decode()
            value = json.loads(text, parse_constant=_reject_constant) if name.endswith("json") else text
        except ValueError as exc:
            yield f"the body is not {name}: {exc}"
            return
        yield from (f"the body: {fault}" for fault in self._validate(spec, media_type["schema"], value))

    def _validate(self, spec: Any, schema: Any, value: Any) -> Iterator[str]:
        _, validator = self._validators.get(id(schema), (None, None))
        if validator is None:
            standard_schema = _to_json_schema({**schema, "components": spec["components"]})
            validator = jsonschema_rs.Draft4Validator(standard_schema, validate_formats=True, formats=FORMATS)
            self._validators[id(schema)] = (schema, validator)
        if validator.is_valid(value):
            return
        for number, error in enumerate(validator.iter_errors(value)):
            if number == 5:
                yield "and more"
                return
            yield f"{'/'.join(map(str, error.instance_path)) or 'the whole value'}: {error.message[:300]}"


@cache
def service() -> PublishedContracts:
    """Return the contracts of the service. Its documentation pages are not part of them."""
    names = ("operations", "web-messages", "subscriptions")
    return PublishedContracts(*names, problem=PROBLEM)


@cache
def compatibility() -> PublishedContracts:
    """Return the contracts of a service that serves the compatibility APIs too."""
    names = ("operations", "web-messages", "subscriptions", *COMPATIBILITY_APIS)
    return PublishedContracts(*names, problem=PROBLEM)


@cache
def worker() -> PublishedContracts:
    """Return the contract of a worker: health and metrics only."""
    return PublishedContracts("operations", problem=PROBLEM)


@cache
def mock() -> PublishedContracts:
    """Return the contract of the mock's control API; everything else is Open-E's interface, or a page."""
    return PublishedContracts("mock-open-e", problem={"type": "object"}, is_mock=True)


def _fits(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        segment if name.startswith("{") else unquote(segment) == name
        for name, segment in zip(template, segments, strict=True)
    )


def _resolve(spec: Any, node: Any) -> Any:
    while "$ref" in node:
        target = spec
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def _to_json_schema(schema: Any) -> Any:
    """Convert a schema of OpenAPI 3.0 to JSON Schema: `nullable` becomes a type, formats of integers become bounds."""
    if isinstance(schema, list):
        return [_to_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {name: _to_json_schema(value) for name, value in schema.items()}
    if converted.get("nullable") is True:
        converted["type"] = [converted["type"], "null"]
    if isinstance(converted.get("format"), str) and converted["format"] in BOUNDS:
        bound = BOUNDS[converted["format"]]
        converted = {"minimum": -bound, "maximum": bound - 1, **converted}
    return converted


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


FORMATS = {"byte": _is_base64}


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
