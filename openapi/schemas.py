"""Validate values against the schemas of a contract."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

from domain.errors import Violation
from openapi.errors.faults import DescribeFault, Fault

MAX_TEXT = 16_777_215
"""Characters of the longest text that a contract accepts."""

MAX_FAULTS = 1000
"""Maximum reported faults: more do not help the caller, and finding them delays other callers."""


MANY = 200
"""Minimum items of a list, or properties, of a value that is validated in a thread."""


class Schema:
    """A schema of a contract, compiled once. `describe` converts its faults to violations."""

    def __init__(self, schema: dict[str, Any], components: dict[str, Any], describe: DescribeFault) -> None:
        self._validator = compile_validator(schema, components)
        self._describe = describe

    def is_long(self, value: Any) -> bool:
        """Return whether validating a value takes long although its body is small.

        Each item of a list, and each property, may have a fault.
        """
        if not isinstance(value, dict):
            return False
        # A loop takes a third of the time of a generator.
        for inner in value.values():
            if isinstance(inner, list) and len(inner) > MANY:
                return True
        return len(value) > MANY

    def find_violations(self, value: Any, prefix: str = "") -> list[Violation]:
        """Return all faults of a value. `prefix` is put before each field."""
        value = _truncate_texts(value)
        if self._validator.is_valid(value):
            return []
        faults = (
            fault for error in self._validator.iter_errors(_shorten_lists(value)) for fault in iterate_faults(error)
        )
        found = [self._describe(fault, prefix) for fault in islice(faults, MAX_FAULTS)]
        return [violation for violation in found if violation is not None]


def compile_validator(schema: dict[str, Any], components: dict[str, Any]) -> jsonschema_rs.Draft4Validator:
    """Return a validator for a schema whose references point to `components`."""
    return jsonschema_rs.Draft4Validator(_convert_schema({**schema, "components": components}), validate_formats=False)


def _truncate_texts(value: Any) -> Any:
    """Return an object with its own texts truncated to one character over the maximum, because patterns read all."""
    # A loop, as above.
    for text in value.values() if isinstance(value, dict) else ():
        if isinstance(text, str) and len(text) > MAX_TEXT:
            return {name: inner[: MAX_TEXT + 1] if isinstance(inner, str) else inner for name, inner in value.items()}
    return value


def _shorten_lists(value: Any) -> Any:
    """Return an invalid object with lists truncated above any allowed size: the validator finds all faults at once."""
    if not isinstance(value, dict):
        return value
    return {
        name: inner[: MAX_FAULTS + 1] if isinstance(inner, list) else inner
        for name, inner in islice(value.items(), MAX_FAULTS)
    }


def iterate_faults(error: jsonschema_rs.ValidationError) -> Iterator[Fault]:
    """Yield the faults of one error: jsonschema-rs reports all unknown properties of an object in one."""
    path, keyword, rule = list(error.instance_path), error.kind.name, error.kind.as_dict()
    if keyword == "required":
        yield Fault([*path, rule["property"]], keyword, rule, error.instance)
    elif keyword == "additionalProperties":
        for name in rule["unexpected"]:
            yield Fault([*path, name], keyword, rule, error.instance)
    else:
        yield Fault(path, keyword, rule, error.instance)


def _convert_schema(schema: Any) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema draft 4: `nullable` becomes a type."""
    if isinstance(schema, list):
        return [_convert_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _convert_schema(value) for key, value in schema.items()}
    if converted.get("nullable") is True and isinstance(converted.get("type"), str):
        converted["type"] = [converted["type"], "null"]
    return converted
