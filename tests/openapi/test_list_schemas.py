"""Bodies that consist of one long list."""

from typing import Any

import pytest

from domain.errors import Violation
from openapi.errors.faults import Fault
from openapi.list_schemas import MAX_TEXT, MAX_UNKNOWN, SHORT, ListSchema, compile_body_schema
from openapi.schemas import Schema

COMPONENTS = {
    "schemas": {
        "Entry": {
            "type": "object",
            "required": ["a"],
            "additionalProperties": False,
            "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 3, "nullable": True}},
        },
        "Body": {
            "type": "object",
            "required": ["id", "list"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string", "pattern": "^x$"},
                "list": {"type": "array", "maxItems": 1001, "items": {"$ref": "#/components/schemas/Entry"}},
            },
        },
    }
}


def describe_fault(fault: Fault, _prefix: str) -> Violation:
    return Violation("/".join(map(str, fault.path)), fault.keyword)


SCHEMA = compile_body_schema({"$ref": "#/components/schemas/Body"}, COMPONENTS, describe_fault)


def list_faults(value: Any) -> list[tuple[str, str]]:
    return [(found.field, found.message) for found in SCHEMA.find_violations(value)]


def test_schema_of_body_is_checked_by_entry_only_for_long_lists() -> None:
    assert isinstance(SCHEMA, ListSchema)
    assert isinstance(compile_body_schema({"$ref": "#/components/schemas/Entry"}, COMPONENTS, describe_fault), Schema)


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_body_that_is_not_an_object_is_one_fault(value: Any) -> None:
    assert list_faults(value) == [("", "type")]


def test_valid_body_has_no_fault() -> None:
    assert list_faults({"id": "x", "list": [{"a": 1}, {"a": 2, "b": None}, {"a": 3, "b": "abc"}]}) == []


def test_faults_of_the_body_and_of_every_entry_are_found() -> None:
    entries: list[Any] = [{"b": "abcd"}, {"a": 1}, None, {"a": {"x": [1]}, "c": 1}, {"a": "1", "b": []}]
    assert sorted(list_faults({"id": "y", "list": entries, "more": {"deep": [1]}})) == [
        ("id", "pattern"),
        ("list/0/a", "required"),
        ("list/0/b", "maxLength"),
        ("list/2", "type"),
        ("list/3/a", "type"),
        ("list/3/c", "additionalProperties"),
        ("list/4/a", "type"),
        ("list/4/b", "type"),
        ("more", "additionalProperties"),
    ]


def test_value_that_is_not_a_list_is_one_fault() -> None:
    assert list_faults({"id": "x", "list": {"a": 1}}) == [("list", "type")]


def test_too_long_list_is_one_fault_in_addition_to_those_of_the_allowed_entries() -> None:
    assert list_faults({"id": "x", "list": [{"a": 1}] * 1001}) == []
    assert list_faults({"id": "x", "list": [{"a": 1}] * 1000 + [0] * 5}) == [
        ("list", "maxItems"),
        ("list/1000", "type"),
    ]


def test_known_properties_are_checked_after_any_number_of_unknown_ones() -> None:
    many = {f"u{number}": 1 for number in range(5000)}
    found = list_faults(many | {"id": "x", "list": [many | {"a": 1}, many]})
    assert len([field for field, _ in found if field.startswith("u")]) == MAX_UNKNOWN
    assert len([field for field, _ in found if field.startswith("list/0/")]) == MAX_UNKNOWN
    assert [row for row in found if row[1] == "required"] == [("list/1/a", "required")]


def test_excessive_text_is_truncated_before_it_is_checked() -> None:
    long = "x" * 10 * MAX_TEXT
    assert list_faults({"id": long, "list": [{"a": 1, "b": long}]}) == [("id", "pattern"), ("list/0/b", "maxLength")]


def test_is_long_counts_entries() -> None:
    assert not SCHEMA.is_long({"list": [{}] * SHORT})
    assert SCHEMA.is_long({"list": [{}] * (SHORT + 1)})
    assert not SCHEMA.is_long({"list": {}})
    assert not SCHEMA.is_long(None)
