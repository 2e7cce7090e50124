"""Schemas of a contract as validators, and their errors."""

from typing import Any

import pytest

from openapi.errors import problem_texts
from openapi.schemas import Schema


def list_faults(schema: dict[str, Any], value: Any, prefix: str = "") -> list[tuple[str, str]]:
    violations = Schema(schema, {"schemas": {}}, problem_texts.build_violation).find_violations(value, prefix)
    return sorted((violation.field, violation.message) for violation in violations)


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string"}, 1, "must be a string"),
        ({"type": "string"}, None, "must be a string"),
        ({"type": "string", "nullable": True}, 1, "must be a string"),
        ({"type": "integer"}, 1.5, "must be an integer"),
        ({"type": "integer"}, True, "must be an integer"),
        ({"type": "number"}, "1", "must be a number"),
        ({"type": "boolean"}, 0, "must be a boolean"),
        ({"type": "array", "items": {}}, {}, "must be an array"),
        ({"type": "object"}, [], "must be an object"),
        ({"enum": ["a", "b"]}, "c", "must be one of a, b"),
        ({"type": "string", "minLength": 2}, "😀", "size must be at least 2"),
        ({"type": "string", "maxLength": 1}, "😀😀", "size must be at most 1"),
        ({"type": "array", "items": {}, "minItems": 1}, [], "size must be at least 1"),
        ({"type": "array", "items": {}, "maxItems": 0}, [1], "size must be at most 0"),
        ({"type": "integer", "minimum": 1}, 0, "must be at least 1"),
        ({"type": "integer", "maximum": 1}, 2, "must be at most 1"),
        ({"type": "integer", "maximum": 1}, 10**4000, "must be at most 1"),
        ({"type": "string", "pattern": "^a$"}, "a\n", "does not match the pattern in the contract"),
        ({"not": {"type": "string"}}, "a", "does not conform to the contract"),
    ],
)
def test_schema_reports_faults(schema: dict[str, Any], value: Any, message: str) -> None:
    assert list_faults(schema, value) == [("body", message)]
    schema = {"type": "object", "properties": {"inner": {"type": "array", "items": schema}}}
    assert list_faults(schema, {"inner": [value]}, "op.") == [("op.inner[0]", message)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "nullable": True}, None),
        ({"type": "string", "nullable": True, "enum": ["a", None]}, None),
        ({"type": "object", "nullable": True, "required": ["a"]}, None),
        ({"type": "integer"}, 10**400),
        ({"type": "string", "maxLength": 2}, "😀😀"),
        ({"type": "string", "format": "uuid"}, "no uuid: patterns say that"),
    ],
)
def test_schema_accepts_valid_values(schema: dict[str, Any], value: Any) -> None:
    assert list_faults(schema, value) == []


def test_schema_reports_every_unknown_and_every_missing_property() -> None:
    schema = {"type": "object", "required": ["a", "b"], "properties": {"a": {}, "b": {}}, "additionalProperties": False}
    assert list_faults(schema, {"c": 1, "d": 1}) == [
        ("a", "is required"),
        ("b", "is required"),
        ("c", "not a property of this object"),
        ("d", "not a property of this object"),
    ]
