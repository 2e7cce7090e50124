"""Changes of responses."""

from typing import Any

import pytest

from tests.contract_tests.small_contracts import GONE, PLAIN, change_contract, list_lines

ANSWERS = "paths > /things/{id} > put > responses"
OK = f"{ANSWERS} > 200"

CHANGES: dict[str, tuple[str, Any, list[str]]] = {
    "an answer gone": (f"{ANSWERS} > 400", GONE, ["setThing 400: no longer there"]),
    "an answer more": (f"{ANSWERS} > 404", {"description": "None."}, []),
    "a media type gone": (f"{OK} > content > text/plain", GONE, ["setThing 200 text/plain: no longer there"]),
    "a media type more": (f"{OK} > content > text/html", {}, []),
    "content where there was none": (
        f"{ANSWERS} > 204 > content",
        {"text/plain": {}},
        ["setThing 204: has content now"],
    ),
    "a header gone": (f"{OK} > headers > Link", GONE, ["setThing 200 header Link: no longer there"]),
    "a header more": (f"{OK} > headers > Location", {"schema": {"type": "string"}}, []),
    "a header no longer always there": (
        f"{OK} > headers > Link > required",
        False,
        ["setThing 200 header Link: no longer always there"],
    ),
    "a header of another type": (
        f"{OK} > headers > Link > schema > type",
        "integer",
        ['setThing 200 header Link: type was "string", is "integer"'],
    ),
    "a header narrower": (f"{OK} > headers > Link > schema > maxLength", 100, []),
    "a header in its style": (f"{OK} > headers > Link > style", "simple", []),
    "a link gone": (f"{OK} > links > Again", GONE, ["setThing 200 link Again: no longer there"]),
    "a link more": (f"{OK} > links > Away", {"operationId": "deleteThing"}, []),
    "a link elsewhere": (
        f"{OK} > links > Again > operationId",
        "deleteThing",
        ["setThing 200 link Again: changed, look"],
    ),
    "a link in other words": (f"{OK} > links > Again > description", "Once more", []),
    "an answer of two operations": (
        "components > responses > Bad > content > text/plain > schema > enum",
        ["bad"],
        ['response Bad text/plain: enum no longer has "worse"'],
    ),
    "such an answer, in place": (
        f"{ANSWERS} > 400",
        {"content": {"text/plain": {"schema": {"type": "string", "enum": ["bad"]}}}},
        ['setThing 400 text/plain: enum no longer has "worse"'],
    ),
    "a schema of both sides": (
        "components > schemas > Thing > properties > size",
        GONE,
        ["requests Thing.size: no longer there", "answers Thing.size: no longer there"],
    ),
    "a limit of answers alone": (
        "components > schemas > Size > minimum",
        -1,
        ["answers Size: minimum was 0, is -1"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_response_changes_are_compared(name: str) -> None:
    place, value, expected = CHANGES[name]
    assert list_lines(PLAIN, change_contract(PLAIN, place, value)) == expected


def test_header_names_are_case_insensitive() -> None:
    lower = change_contract(
        change_contract(PLAIN, f"{OK} > headers > Link", GONE),
        f"{OK} > headers > link",
        {"required": True, "schema": {"type": "string"}},
    )
    assert list_lines(PLAIN, lower) == []
