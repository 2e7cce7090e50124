"""Check answers against the published contracts, without using code of the service."""

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
import yaml

from tests.processes import REPOSITORY

OF_HTTP = frozenset({"content-type", "content-length", "transfer-encoding", "date", "connection"})
"""Headers of HTTP itself, which contracts need not declare."""
NO_BODY = frozenset({204, 304})
TEXT = {"required": True, "schema": {"type": "string"}}
OPTIONAL_TEXT = {"schema": {"type": "string"}}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
WORLD = "[A-Za-z0-9._-]{1,64}"
BOUNDS = {"int32": 2**31, "int64": 2**63}


@dataclass(frozen=True)
class Answer:
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


class Published:
    """Contracts that are served together.

    With `is_mock`: also in named worlds, with HEAD next to GET, and next to Open-E.
    """

    def __init__(self, *names: str, problem: dict[str, Any], is_mock: bool = False) -> None:
        self._specs = [yaml.safe_load((REPOSITORY / "spec" / f"{name}.yaml").read_text()) for name in names]
        self._is_mock = is_mock
        self._unknown = {"application/problem+json": {"schema": problem}}
        # Keep each validator together with its schema, so that the schema's address in memory is not reused.
        self._validators: dict[int, tuple[Any, Any]] = {}

    def faults_of(self, answer: Answer) -> list[str]:
        """Return a sentence for each violation of the contracts; none if they are kept."""
        segments = answer.path.split("?", 1)[0].split("/")[1:] or [answer.path]
        if self._is_mock and len(segments) > 2 and segments[0] == "s" and re.fullmatch(WORLD, segments[1]):
            segments = segments[2:]
        first = unquote(segments[0])
        if first != "control" if self._is_mock else first == "docs":
            return []
        spec, methods = self._find(segments)
        return list(self._judged(answer, spec, methods, is_v1=first == "v1"))

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

    def _judged(self, answer: Answer, spec: Any, methods: dict[str, Any] | None, *, is_v1: bool) -> Iterator[str]:
        allowed = set(methods or ()) | ({"HEAD"} if self._is_mock and "GET" in (methods or ()) else set())
        if methods is None or answer.method not in allowed:
            yield from self._judged_outside(answer, allowed, is_v1=is_v1)
            return
        responses = methods["GET" if answer.method == "HEAD" else answer.method]["responses"]
        response = responses.get(str(answer.status), responses.get("default"))
        if response is None:
            yield f"the status is none of {', '.join(responses)}"
            return
        response = _resolved(spec, response)
        yield from self._judged_headers(answer, spec, response.get("headers", {}))
        yield from self._judged_body(answer, spec, response.get("content", {}))

    def _judged_outside(self, answer: Answer, allowed: set[str], *, is_v1: bool) -> Iterator[str]:
        """Check the response to a path or method that no contract has: a 404, or a 405 with the allowed methods."""
        wanted = 405 if allowed else 404
        if answer.status != wanted:
            yield f"the status is not {wanted}, although no contract has this"
        headers = {"x-requestId" if is_v1 else "x-request-id": TEXT, "Cache-Control": OPTIONAL_TEXT}
        if allowed:
            headers["Allow"] = TEXT
            said = {name.strip() for value in answer.values("allow") for name in value.split(",")}
            if said != allowed:
                yield f"Allow says {sorted(said)}, the contract {sorted(allowed)}"
        yield from self._judged_headers(answer, self._specs[0], headers)
        yield from self._judged_body(answer, self._specs[0], self._unknown)

    def _judged_headers(self, answer: Answer, spec: Any, headers: Mapping[str, Any]) -> Iterator[str]:
        documented = {name.lower(): _resolved(spec, header) for name, header in headers.items()}
        counts = Counter(name for name, _ in answer.headers)
        for name in sorted(set(counts) - set(documented) - OF_HTTP):
            yield f"the header {name} is not documented"
        for name, header in documented.items():
            if counts[name] > 1:
                yield f"the header {name} comes {counts[name]} times"
            elif not counts[name]:
                if header.get("required"):
                    yield f"the header {name} is missing"
            else:
                text = answer.values(name)[0]
                is_integer = header["schema"].get("type") == "integer" and text.isdecimal()
                for fault in self._faults(spec, header["schema"], int(text) if is_integer else text):
                    yield f"the header {name} is {text!r}: {fault}"

    def _judged_body(self, answer: Answer, spec: Any, content: Mapping[str, Any]) -> Iterator[str]:
        types = answer.values("content-type")
        if not content or answer.status in NO_BODY:
            if answer.body or types:
                yield f"there is a body of {len(answer.body or b'')} bytes and the type {types}, and must be none"
            return
        if len(types) != 1:
            yield f"the content type is {types}, and must be one"
            return
        name = types[0].split(";")[0].strip()
        media_type = content.get(name, content.get("*/*"))
        if media_type is None:
            yield f"the content type {name!r} is none of {', '.join(content)}"
            return
        if answer.body is None or answer.method == "HEAD" or media_type["schema"].get("format") == "binary":
            return
        try:
            text = answer.body.decode()
            value = json.loads(text, parse_constant=_no_constant) if name.endswith("json") else text
        except ValueError as exc:
            yield f"the body is no {name}: {exc}"
            return
        yield from (f"the body: {fault}" for fault in self._faults(spec, media_type["schema"], value))

    def _faults(self, spec: Any, schema: Any, value: Any) -> Iterator[str]:
        _, validator = self._validators.get(id(schema), (None, None))
        if validator is None:
            whole = _in_words_of_json_schema({**schema, "components": spec["components"]})
            validator = jsonschema_rs.Draft4Validator(whole, validate_formats=True, formats=FORMATS)
            self._validators[id(schema)] = (schema, validator)
        if validator.is_valid(value):
            return
        for number, error in enumerate(validator.iter_errors(value)):
            if number == 5:
                yield "and more"
                return
            yield f"{'/'.join(map(str, error.instance_path)) or 'all of it'}: {error.message[:300]}"


@cache
def service() -> Published:
    """Return what the service publishes. Its documentation pages are not part of the contracts."""
    names = ("operations", "web-messages", "subscriptions")
    return Published(*names, problem=PROBLEM)


@cache
def worker() -> Published:
    """Return what a worker publishes: health and metrics only."""
    return Published("operations", problem=PROBLEM)


@cache
def mock() -> Published:
    """Return what the mock Open-E publishes of its control API; everything else is Open-E's interface, or a page."""
    return Published("mock-open-e", problem={"type": "object"}, is_mock=True)


def _fits(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        segment if name.startswith("{") else unquote(segment) == name
        for name, segment in zip(template, segments, strict=True)
    )


def _resolved(spec: Any, node: Any) -> Any:
    while "$ref" in node:
        target = spec
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def _in_words_of_json_schema(schema: Any) -> Any:
    """Convert a schema of OpenAPI 3.0 to JSON Schema: `nullable` becomes a type, formats of integers become bounds."""
    if isinstance(schema, list):
        return [_in_words_of_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name: _in_words_of_json_schema(value) for name, value in schema.items()}
    if words.get("nullable") is True:
        words["type"] = [words["type"], "null"]
    if isinstance(words.get("format"), str) and words["format"] in BOUNDS:
        bound = BOUNDS[words["format"]]
        words = {"minimum": -bound, "maximum": bound - 1, **words}
    return words


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


FORMATS = {"byte": _is_base64}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
