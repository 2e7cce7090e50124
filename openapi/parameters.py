"""Parse the parameters of path, query and headers: strict decoding, the right type, and no unknown ones."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from domain.errors import Violation
from openapi.errors.faults import DescribeFault, Fault
from openapi.schemas import Schema

MAX_QUERY_PARAMETERS = 100

_READ_BY_MIDDLEWARE = {"x-request-id", "x-requestid"}
"""Header parameters of the contracts that accept any value."""

_INTEGER = re.compile(r"-?[0-9]+")
_MAX_DIGITS = 4000
"""Python converts no more digits."""


class Parameters:
    """The parameters of one operation, compiled once. `describe` converts their faults to violations."""

    def __init__(
        self, operation_id: str, parameters: list[dict[str, Any]], components: dict[str, Any], describe: DescribeFault
    ) -> None:
        self._describe = describe
        self._prefix = f"{operation_id}."
        self._path = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
        self._query = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
        self._headers = {
            parameter["name"].lower().encode(): parameter["name"]
            for parameter in parameters
            if parameter["in"] == "header" and parameter["name"].lower() not in _READ_BY_MIDDLEWARE
        }
        read = [p for p in parameters if p["in"] in {"path", "query"} or p["name"] in self._headers.values()]
        self._integers = {p["name"] for p in read if _get_type(p["schema"], components) == "integer"}
        self._booleans = {p["name"] for p in read if _get_type(p["schema"], components) == "boolean"}
        schema: dict[str, Any] = {"type": "object", "properties": {p["name"]: p["schema"] for p in read}}
        # A missing path parameter changes the route, so only query parameters can be missing.
        required = [p["name"] for p in read if p["in"] == "query" and p.get("required")]
        if required:
            schema["required"] = required
        self._schema = Schema(schema, components, describe)

    def read(
        self, path_params: dict[str, str], query: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> tuple[dict[str, Any], list[Violation]]:
        """Return the values by name, and their violations.

        `path_params` are percent-encoded, `query` is the raw query string. Names in `headers` are in lower case. A
        header is returned as Latin-1.
        """
        values: dict[str, Any] = {}
        violations: list[Violation] = []
        for name in self._path:
            value = path_params[name]
            self._take(name, unquote_to_bytes(value) if "%" in value else value.encode(), values, violations)
        if query:
            self._read_query(query, values, violations)
        if self._headers:
            self._read_headers(headers, values, violations)
        found = self._schema.find_violations(values, self._prefix)
        if found:
            # Parameters that could not be decoded are already reported; do not report them as missing.
            reported = {violation.field for violation in violations}
            violations += [violation for violation in found if violation.field not in reported]
        return values, violations

    def _read_query(self, query: bytes, values: dict[str, Any], violations: list[Violation]) -> None:
        pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
        if len(pairs) > MAX_QUERY_PARAMETERS:
            self._add_violation(violations, "query", "many", {"limit": MAX_QUERY_PARAMETERS})
            return
        for raw_name, _, raw_value in pairs:
            name = _unquote(raw_name).decode("utf-8", "replace")
            if name not in self._query:
                self._add_violation(violations, name[:100], "unknown")
            elif name in values:
                self._add_violation(violations, name, "twice")
            else:
                self._take(name, _unquote(raw_value), values, violations)

    def _read_headers(
        self, headers: Iterable[tuple[bytes, bytes]], values: dict[str, Any], violations: list[Violation]
    ) -> None:
        for raw_name, raw_value in headers:
            name = self._headers.get(raw_name)
            if name is None:
                continue
            if name in values:
                self._add_violation(violations, name, "twice")
            values[name] = raw_value.decode("latin-1").strip(" \t")

    def _take(self, name: str, raw: bytes, values: dict[str, Any], violations: list[Violation]) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self._add_violation(violations, name, "utf-8")
            return
        if "\0" in text:
            self._add_violation(violations, name, "nul")
            return
        values[name] = self._convert(name, text)

    def _add_violation(
        self, violations: list[Violation], name: str, keyword: str, rule: dict[str, Any] | None = None
    ) -> None:
        violation = self._describe(Fault([name], keyword, rule or {}), self._prefix)
        if violation is not None:
            violations.append(violation)

    def _convert(self, name: str, text: str) -> Any:
        if name in self._integers and _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if name in self._booleans and text in {"true", "false"}:
            return text == "true"
        # Leave the text, so that the schema reports its type.
        return text


def _unquote(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


def _get_type(schema: dict[str, Any], components: dict[str, Any]) -> str | None:
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema.get("type")
