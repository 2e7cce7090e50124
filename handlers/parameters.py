"""Reads the parameters of path and query: decoded strictly, of the right type, and none that is not known."""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from domain.errors import Violation
from handlers.schemas import Schema

MAX_QUERY_PARAMETERS = 100

_INTEGER = re.compile(r"-?[0-9]+")
_MAX_DIGITS = 4000
"""Python refuses to read more."""

_NOT_UTF8 = "must be UTF-8"


class Parameters:
    """The parameters of one operation, compiled once."""

    def __init__(self, operation_id: str, parameters: list[dict[str, Any]], components: dict[str, Any]) -> None:
        self._prefix = f"{operation_id}."
        self._path = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
        self._query = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
        read = [parameter for parameter in parameters if parameter["in"] in {"path", "query"}]
        self._integers = {p["name"] for p in read if _type_of(p["schema"], components) == "integer"}
        self._booleans = {p["name"] for p in read if _type_of(p["schema"], components) == "boolean"}
        # What is required and missing shows in the path already: a request without it goes elsewhere.
        properties = {parameter["name"]: parameter["schema"] for parameter in read}
        self._schema = Schema({"type": "object", "properties": properties}, components)

    def read(self, path_params: dict[str, str], query: bytes) -> tuple[dict[str, Any], list[Violation]]:
        """The values by name, and what is wrong with them.

        `path_params` are percent-encoded, `query` is the query string as it came.
        """
        values: dict[str, Any] = {}
        violations: list[Violation] = []
        for name in self._path:
            self._take(name, unquote_to_bytes(path_params[name]), values, violations)
        if query:
            self._read_query(query, values, violations)
        return values, violations + self._schema.violations(values, self._prefix)

    def _read_query(self, query: bytes, values: dict[str, Any], violations: list[Violation]) -> None:
        pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
        if len(pairs) > MAX_QUERY_PARAMETERS:
            violations.append(Violation(f"{self._prefix}query", f"more than {MAX_QUERY_PARAMETERS} parameters"))
            return
        for raw_name, _, raw_value in pairs:
            name = _unquote(raw_name).decode("utf-8", "replace")
            if name not in self._query:
                violations.append(Violation(f"{self._prefix}{name[:100]}", "not a parameter of this operation"))
            elif name in values:
                violations.append(Violation(f"{self._prefix}{name}", "must be given once"))
            else:
                self._take(name, _unquote(raw_value), values, violations)

    def _take(self, name: str, raw: bytes, values: dict[str, Any], violations: list[Violation]) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            violations.append(Violation(f"{self._prefix}{name}", _NOT_UTF8))
            return
        if "\0" in text:
            violations.append(Violation(f"{self._prefix}{name}", "must not contain U+0000"))
            return
        values[name] = self._convert(name, text)

    def _convert(self, name: str, text: str) -> Any:
        if name in self._integers and _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if name in self._booleans and text in {"true", "false"}:
            return text == "true"
        # What is no integer stays text, and the schema says so.
        return text


def _unquote(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


def _type_of(schema: dict[str, Any], components: dict[str, Any]) -> str | None:
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema.get("type")
