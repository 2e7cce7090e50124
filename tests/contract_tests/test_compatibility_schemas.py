"""Changes in the parts of schemas: properties, items, and referenced schemas."""

from typing import Any

import pytest

from tests.contract_tests.small_contracts import build_contract, compare_by_side, list_lines

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def build_things(properties: dict[str, Any], **words: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **words}


def build_reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str], list[str]]] = {
    "a property gone": (build_things({"a": TEXT}), build_things({}), [".a: no longer there"], [".a: no longer there"]),
    "a property gone that was always there": (
        build_things({"a": TEXT}, required=["a"]),
        build_things({}),
        [".a: no longer there"],
        [".a: no longer there"],
    ),
    "a property more": (build_things({}), build_things({"a": TEXT}), [], []),
    "a property required": (
        build_things({"a": TEXT}),
        build_things({"a": TEXT}, required=["a"]),
        [".a: required now"],
        [],
    ),
    "a property more, required": (
        build_things({}),
        build_things({"a": TEXT}, required=["a"]),
        [".a: required now"],
        [],
    ),
    "a property no longer required": (
        build_things({"a": TEXT}, required=["a"]),
        build_things({"a": TEXT}),
        [],
        [".a: no longer always there"],
    ),
    "a property of another type": (
        build_things({"a": TEXT}),
        build_things({"a": NUMBER}),
        ['.a: type was "string", is "integer"'],
        ['.a: type was "string", is "integer"'],
    ),
    "properties in another order": (
        build_things({"a": TEXT, "b": TEXT}, required=["a", "b"]),
        build_things({"b": TEXT, "a": TEXT}, required=["b", "a"]),
        [],
        [],
    ),
    "items narrower": ({"items": NUMBER}, {"items": NUMBER | {"minimum": 0}}, ["[]: minimum 0 is new"], []),
    "items new": ({}, {"items": TEXT}, ['[]: type "string" is new'], []),
    "unknown refused": (
        build_things({}),
        build_things({}, additionalProperties=False),
        [": unknown properties are refused now"],
        [],
    ),
    "unknown taken": (
        build_things({}, additionalProperties=False),
        build_things({}, additionalProperties=TEXT),
        [],
        [": may have unknown properties now"],
    ),
    "unknown anyway": (build_things({}), build_things({}, additionalProperties=True), [], []),
    "unknown of a type": (
        build_things({}),
        build_things({}, additionalProperties=TEXT),
        ['.*: type "string" is new'],
        [],
    ),
    "unknown of any type": (
        build_things({}, additionalProperties=TEXT),
        build_things({}),
        ['.*: type "string" is gone'],
        ['.*: type "string" is gone'],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_parts_of_schemas_are_compared_by_direction(name: str) -> None:
    old, new, requests, responses = CHANGES[name]
    assert compare_by_side(build_contract(old), build_contract(new)) == (requests, responses)


def test_shared_schema_is_reported_once_per_direction_by_its_name() -> None:
    holder = build_things({"one": build_reference("Part"), "two": build_reference("Part")})
    old = build_contract(holder, {"Part": build_things({"a": TEXT})})
    new = build_contract(holder, {"Part": build_things({})})
    assert list_lines(old, new) == ["requests Part.a: no longer there", "answers Part.a: no longer there"]


def test_renamed_schema_is_reported_and_its_content_is_compared() -> None:
    schemas = {"Part": build_things({"a": TEXT}), "Piece": build_things({})}
    requests, responses = compare_by_side(
        build_contract(build_reference("Part"), schemas), build_contract(build_reference("Piece"), schemas)
    )
    assert requests == responses == [": was named Part, is named Piece", ".a: no longer there"]


def test_removed_schema_name_is_reported_and_a_new_one_is_compatible() -> None:
    part = build_things({"a": TEXT})
    named, in_place = build_contract(build_reference("Part"), {"Part": part}), build_contract(part)
    assert compare_by_side(named, in_place)[0] == [": was named Part, is without a name"]
    assert list_lines(in_place, named) == []
    assert compare_by_side(in_place, build_contract(build_reference("Part"), {"Part": build_things({})}))[0] == [
        ".a: no longer there"
    ]


def test_recursive_schema_is_compared() -> None:
    def build_tree(name: str, *words: str) -> dict[str, Any]:
        return {name: build_things({"next": build_reference(name), **dict.fromkeys(words, TEXT)})}

    old = build_contract(build_reference("Tree"), build_tree("Tree", "leaf"))
    assert list_lines(old, build_contract(build_reference("Tree"), build_tree("Tree"))) == [
        "requests Tree.leaf: no longer there",
        "answers Tree.leaf: no longer there",
    ]
    requests, _ = compare_by_side(old, build_contract(build_reference("Bush"), build_tree("Bush", "leaf")))
    assert requests == [": was named Tree, is named Bush", ".next: was named Tree, is named Bush"]


def test_schemas_behind_unknown_keywords_are_compared() -> None:
    either = {"oneOf": [build_reference("Part"), build_things({"again": build_reference("Part")})]}
    old = build_contract(either, {"Part": build_things({"self": build_reference("Part"), "a": TEXT})})
    new = build_contract(either, {"Part": build_things({"self": build_reference("Part"), "a": NUMBER})})
    assert compare_by_side(old, old) == ([], [])
    assert compare_by_side(old, new) == ([": oneOf changed, look"], [": oneOf changed, look"])


def test_reference_to_another_file_is_not_skipped() -> None:
    contract = build_contract({"$ref": "other.yaml#/Part"})
    with pytest.raises(ValueError, match=r"other\.yaml#/Part: only references within a contract can be compared"):
        list_lines(contract, contract)
