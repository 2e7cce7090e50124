"""Each keyword of a schema, changed in both directions, in requests and in responses."""

from typing import Any

import pytest

from tests.contract_tests.small_contracts import build_contract, compare_by_side

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str | None]] = {
    "type another": (TEXT, NUMBER, 'type was "string", is "integer"', 'type was "string", is "integer"'),
    "type wider": (NUMBER, {"type": "number"}, None, 'type was "integer", is "number"'),
    "type narrower": ({"type": "number"}, NUMBER, 'type was "number", is "integer"', 'type was "number", is "integer"'),
    "type new": ({}, TEXT, 'type "string" is new', None),
    "type gone": (TEXT, {}, 'type "string" is gone', 'type "string" is gone'),
    "format new": (TEXT, TEXT | {"format": "uuid"}, 'format "uuid" is new', None),
    "format gone": (TEXT | {"format": "uuid"}, TEXT, None, 'format "uuid" is gone'),
    "format another": (
        TEXT | {"format": "date"},
        TEXT | {"format": "uuid"},
        'format was "date", is "uuid"',
        'format was "date", is "uuid"',
    ),
    "null refused": (TEXT | {"nullable": True}, TEXT, "may no longer be null", None),
    "null possible": (TEXT, TEXT | {"nullable": True}, None, "may be null now"),
    "null as before": (TEXT, TEXT | {"nullable": False}, None, None),
    "enum new": (TEXT, TEXT | {"enum": ["a"]}, 'enum ["a"] is new', None),
    "enum gone": (TEXT | {"enum": ["a"]}, TEXT, None, 'enum ["a"] is gone'),
    "enum less": ({"enum": [1, 2]}, {"enum": [2]}, "enum no longer has 1", "enum no longer has 1"),
    "enum more": ({"enum": [1]}, {"enum": [2, 1]}, None, "enum has 2 now"),
    "enum in another order": ({"enum": [1, 2]}, {"enum": [2, 1]}, None, None),
    "pattern new": (TEXT, TEXT | {"pattern": "^a"}, "pattern is new", None),
    "pattern gone": (TEXT | {"pattern": "^a"}, TEXT, None, "pattern is gone"),
    "pattern another": (
        TEXT | {"pattern": "^a"},
        TEXT | {"pattern": "^b"},
        "pattern changed, look",
        "pattern changed, look",
    ),
    "default another": ({"default": 1}, {"default": 2}, "default was 1, is 2", "default was 1, is 2"),
    "read only": (TEXT, TEXT | {"readOnly": True}, "readOnly true is new", "readOnly true is new"),
    "readOnly false is explicit": (TEXT, TEXT | {"readOnly": False}, None, None),
    "write only": (TEXT | {"writeOnly": True}, TEXT, "writeOnly true is gone", "writeOnly true is gone"),
    "unique": ({"type": "array"}, {"type": "array", "uniqueItems": True}, "uniqueItems true is new", None),
    "not unique": ({"uniqueItems": True}, {"uniqueItems": False}, None, "uniqueItems was true, is false"),
    "the least itself no longer": (
        {"minimum": 1},
        {"minimum": 1, "exclusiveMinimum": True},
        "exclusiveMinimum true is new",
        None,
    ),
    "the most itself too": ({"exclusiveMaximum": True}, {}, None, "exclusiveMaximum true is gone"),
    "shorter": ({"maxLength": 9}, {"maxLength": 8}, "maxLength was 9, is 8", None),
    "longer": ({"maxLength": 9}, {"maxLength": 10}, None, "maxLength was 9, is 10"),
    "as long as one likes": ({"maxLength": 9}, {}, None, "maxLength 9 is gone"),
    "no longer short": ({"minLength": 1}, {"minLength": 2}, "minLength was 1, is 2", None),
    "short": ({"minLength": 2}, {"minLength": 1}, None, "minLength was 2, is 1"),
    "nothing is the least anyway": ({}, {"minItems": 0}, None, None),
    "a least below zero": ({}, {"minimum": -1}, "minimum -1 is new", None),
    "no least": ({"minimum": 0}, {}, None, "minimum 0 is gone"),
    "fewer items": ({}, {"maxItems": 5}, "maxItems 5 is new", None),
    "fewer properties": ({"maxProperties": 5}, {"maxProperties": 4}, "maxProperties was 5, is 4", None),
    "more properties": ({}, {"minProperties": 1}, "minProperties 1 is new", None),
    "a smaller most": ({"maximum": 5}, {"maximum": 4.5}, "maximum was 5, is 4.5", None),
    "a word not known here": (
        {"multipleOf": 4},
        {"multipleOf": 2},
        "multipleOf changed, look",
        "multipleOf changed, look",
    ),
    "one of several": (
        {"anyOf": [{"minimum": 1}]},
        {"anyOf": [{"minimum": 2}]},
        "anyOf changed, look",
        "anyOf changed, look",
    ),
    "what is not": ({}, {"not": {"enum": [1]}}, "not changed, look", "not changed, look"),
    "words for people": (
        {"description": "One", "example": 1, "x-note": 1},
        {"description": "Two", "title": "T", "deprecated": True, "x-note": 2},
        None,
        None,
    ),
    "words for people within": (
        {"anyOf": [{"minimum": 1, "description": "One", "properties": {"title": TEXT}}]},
        {"anyOf": [{"minimum": 1, "description": "Two", "properties": {"title": TEXT}}]},
        None,
        None,
    ),
    "a property called like a word for people": (
        {"allOf": [{"properties": {"title": TEXT}}]},
        {"allOf": [{"properties": {"title": NUMBER}}]},
        "allOf changed, look",
        "allOf changed, look",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_keyword_changes_are_compared_by_direction(name: str) -> None:
    old, new, requests, responses = CHANGES[name]
    expected = tuple([] if text is None else [f": {text}"] for text in (requests, responses))
    assert compare_by_side(build_contract(old), build_contract(new)) == expected
