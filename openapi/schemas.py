"""Checks values against the schemas of a contract."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

from domain.errors import Violation
from openapi.errors.faults import Fault, Say

MAX_TEXT = 16_777_215
"""Characters of the longest text that a contract takes."""

MAX_FAULTS = 1000
"""Nobody needs more by name, and while they are found and told all other callers wait."""


MANY = 200
"""Items of a list, or properties, of a value that is checked in a thread."""


class Schema:
    """One schema of a contract, compiled once; `say` puts its faults in words."""

    def __init__(self, schema: dict[str, Any], components: dict[str, Any], say: Say) -> None:
        self._validator = compiled(schema, components)
        self._say = say

    def is_long(self, value: Any) -> bool:
        """Whether a value that came in a small body takes long to check all the same.

        Each item of a list, and each property, may be faulty.
        """
        if not isinstance(value, dict):
            return False
        return len(value) > MANY or any(isinstance(inner, list) and len(inner) > MANY for inner in value.values())

    def violations(self, value: Any, prefix: str = "") -> list[Violation]:
        """Every fault of a value; `prefix` stands before each field."""
        value = _without_overlong_texts(value)
        if self._validator.is_valid(value):
            return []
        faults = (fault for error in self._validator.iter_errors(_shortened(value)) for fault in faults_of(error))
        found = [self._say(fault, prefix) for fault in islice(faults, MAX_FAULTS)]
        return [violation for violation in found if violation is not None]


def compiled(schema: dict[str, Any], components: dict[str, Any]) -> jsonschema_rs.Draft4Validator:
    """A validator for a schema whose references are to `components`."""
    return jsonschema_rs.Draft4Validator(_to_json_schema({**schema, "components": components}), validate_formats=False)


def _without_overlong_texts(value: Any) -> Any:
    """An object whose own texts are cut to one character more than any may have; patterns would read all of them."""
    if not isinstance(value, dict) or not any(isinstance(v, str) and len(v) > MAX_TEXT for v in value.values()):
        return value
    return {name: inner[: MAX_TEXT + 1] if isinstance(inner, str) else inner for name, inner in value.items()}


def _shortened(value: Any) -> Any:
    """A faulty object with its lists cut to more than any contract takes; the validator finds all faults at once."""
    if not isinstance(value, dict):
        return value
    return {
        name: inner[: MAX_FAULTS + 1] if isinstance(inner, list) else inner
        for name, inner in islice(value.items(), MAX_FAULTS)
    }


def faults_of(error: jsonschema_rs.ValidationError) -> Iterator[Fault]:
    """The faults of one error; jsonschema-rs names all unknown properties of an object in one."""
    path, keyword, rule = list(error.instance_path), error.kind.name, error.kind.as_dict()
    if keyword == "required":
        yield Fault([*path, rule["property"]], keyword, rule, error.instance)
    elif keyword == "additionalProperties":
        for name in rule["unexpected"]:
            yield Fault([*path, name], keyword, rule, error.instance)
    else:
        yield Fault(path, keyword, rule, error.instance)


def _to_json_schema(schema: Any) -> Any:
    """An OpenAPI 3.0 schema in the words of JSON Schema, draft 4: `nullable` becomes a type."""
    if isinstance(schema, list):
        return [_to_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _to_json_schema(value) for key, value in schema.items()}
    if converted.get("nullable") is True and isinstance(converted.get("type"), str):
        converted["type"] = [converted["type"], "null"]
    return converted
