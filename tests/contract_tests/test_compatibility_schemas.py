"""Changes in the parts of schemas: properties, items, and referenced schemas."""

from typing import Any

import pytest

from tests.contract_tests.small_contracts import by_side, lines, with_schema

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def things(properties: dict[str, Any], **words: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **words}


def reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str], list[str]]] = {
    "a property gone": (things({"a": TEXT}), things({}), [".a: no longer there"], [".a: no longer there"]),
    "a property gone that was always there": (
        things({"a": TEXT}, required=["a"]),
        things({}),
        [".a: no longer there"],
        [".a: no longer there"],
    ),
    "a property more": (things({}), things({"a": TEXT}), [], []),
    "a property required": (things({"a": TEXT}), things({"a": TEXT}, required=["a"]), [".a: required now"], []),
    "a property more, required": (things({}), things({"a": TEXT}, required=["a"]), [".a: required now"], []),
    "a property no longer required": (
        things({"a": TEXT}, required=["a"]),
        things({"a": TEXT}),
        [],
        [".a: no longer always there"],
    ),
    "a property of another type": (
        things({"a": TEXT}),
        things({"a": NUMBER}),
        ['.a: type was "string", is "integer"'],
        ['.a: type was "string", is "integer"'],
    ),
    "properties in another order": (
        things({"a": TEXT, "b": TEXT}, required=["a", "b"]),
        things({"b": TEXT, "a": TEXT}, required=["b", "a"]),
        [],
        [],
    ),
    "items narrower": ({"items": NUMBER}, {"items": NUMBER | {"minimum": 0}}, ["[]: minimum 0 is new"], []),
    "items new": ({}, {"items": TEXT}, ['[]: type "string" is new'], []),
    "unknown refused": (
        things({}),
        things({}, additionalProperties=False),
        [": unknown properties are refused now"],
        [],
    ),
    "unknown taken": (
        things({}, additionalProperties=False),
        things({}, additionalProperties=TEXT),
        [],
        [": may have unknown properties now"],
    ),
    "unknown anyway": (things({}), things({}, additionalProperties=True), [], []),
    "unknown of a type": (things({}), things({}, additionalProperties=TEXT), ['.*: type "string" is new'], []),
    "unknown of any type": (
        things({}, additionalProperties=TEXT),
        things({}),
        ['.*: type "string" is gone'],
        ['.*: type "string" is gone'],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_parts_of_schemas_are_compared_by_direction(name: str) -> None:
    old, new, requests, responses = CHANGES[name]
    assert by_side(with_schema(old), with_schema(new)) == (requests, responses)


def test_shared_schema_is_reported_once_per_direction_by_its_name() -> None:
    holder = things({"one": reference("Part"), "two": reference("Part")})
    old = with_schema(holder, {"Part": things({"a": TEXT})})
    new = with_schema(holder, {"Part": things({})})
    assert lines(old, new) == ["requests Part.a: no longer there", "answers Part.a: no longer there"]


def test_renamed_schema_is_reported_and_its_content_is_compared() -> None:
    schemas = {"Part": things({"a": TEXT}), "Piece": things({})}
    requests, responses = by_side(with_schema(reference("Part"), schemas), with_schema(reference("Piece"), schemas))
    assert requests == responses == [": was named Part, is named Piece", ".a: no longer there"]


def test_removed_schema_name_is_reported_and_a_new_one_is_compatible() -> None:
    part = things({"a": TEXT})
    named, in_place = with_schema(reference("Part"), {"Part": part}), with_schema(part)
    assert by_side(named, in_place)[0] == [": was named Part, is without a name"]
    assert lines(in_place, named) == []
    assert by_side(in_place, with_schema(reference("Part"), {"Part": things({})}))[0] == [".a: no longer there"]


def test_recursive_schema_is_compared() -> None:
    def tree(name: str, *words: str) -> dict[str, Any]:
        return {name: things({"next": reference(name), **dict.fromkeys(words, TEXT)})}

    old = with_schema(reference("Tree"), tree("Tree", "leaf"))
    assert lines(old, with_schema(reference("Tree"), tree("Tree"))) == [
        "requests Tree.leaf: no longer there",
        "answers Tree.leaf: no longer there",
    ]
    requests, _ = by_side(old, with_schema(reference("Bush"), tree("Bush", "leaf")))
    assert requests == [": was named Tree, is named Bush", ".next: was named Tree, is named Bush"]


def test_schemas_behind_unknown_keywords_are_compared() -> None:
    either = {"oneOf": [reference("Part"), things({"again": reference("Part")})]}
    old = with_schema(either, {"Part": things({"self": reference("Part"), "a": TEXT})})
    new = with_schema(either, {"Part": things({"self": reference("Part"), "a": NUMBER})})
    assert by_side(old, old) == ([], [])
    assert by_side(old, new) == ([": oneOf changed, look"], [": oneOf changed, look"])


def test_reference_to_another_file_is_not_skipped() -> None:
    contract = with_schema({"$ref": "other.yaml#/Part"})
    with pytest.raises(ValueError, match=r"other\.yaml#/Part: only references within a contract can be compared"):
        lines(contract, contract)
