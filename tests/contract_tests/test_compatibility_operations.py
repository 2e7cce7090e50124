"""Changes of operations, their parameters and bodies, and their security."""

from typing import Any

import pytest

from tests.contract_tests.small_contracts import GONE, PLAIN, change_contract, list_lines

PUT = "paths > /things/{id} > put"
BODY = f"{PUT} > requestBody"
SCHEME = "components > securitySchemes > Key"

CHANGES: dict[str, tuple[str, Any, list[str]]] = {
    "a path gone": ("paths > /things/{id}", GONE, ["/things/{id}: no longer there"]),
    "a path more": ("paths > /more", {"get": {"operationId": "getMore", "responses": {}}}, []),
    "a method gone": (PUT, GONE, ["PUT /things/{id}: no longer there"]),
    "a method more": ("paths > /things/{id} > get", {"operationId": "getThing", "responses": {}}, []),
    "another name": (f"{PUT} > operationId", "putThing", ['setThing: operationId was "setThing", is "putThing"']),
    "another tag": (f"{PUT} > tags", ["Stuff"], ['setThing: tags was ["Things"], is ["Stuff"]']),
    "other words": (f"{PUT} > summary", "Set it", []),
    "another server": ("servers", [{"url": "/v2"}], ["servers: changed, look"]),
    "the same server": ("servers", [{"url": "/", "description": "Here"}], []),
    "a server of a path": ("paths > /things/{id} > servers", [{"url": "/v2"}], ["/things/{id}: servers changed, look"]),
    "a callback": (f"{PUT} > callbacks", {"done": {}}, ["setThing: callbacks changed, look"]),
    "a parameter gone": (f"{PUT} > parameters > 0", GONE, ["setThing query limit: no longer there"]),
    "a parameter of the path gone": (
        "paths > /things/{id} > parameters > 0",
        GONE,
        ["setThing path id: no longer there", "deleteThing path id: no longer there"],
    ),
    "a parameter more": (f"{PUT} > parameters > 0", {"name": "after", "in": "query"}, []),
    "a required parameter more": (
        f"{PUT} > parameters > 0",
        {"name": "after", "in": "query", "required": True},
        ["setThing query after: required now"],
    ),
    "a parameter required": (
        f"{PUT} > parameters > 0 > required",
        True,
        ["setThing query limit: required now"],
    ),
    "a parameter narrower": (
        f"{PUT} > parameters > 0 > schema > maximum",
        50,
        ["setThing query limit: maximum was 100, is 50"],
    ),
    "a parameter wider": (f"{PUT} > parameters > 0 > schema > maximum", 500, []),
    "a parameter in another style": (
        f"{PUT} > parameters > 0 > style",
        "spaceDelimited",
        ["setThing query limit: explode changed, look", "setThing query limit: style changed, look"],
    ),
    "a parameter in the style it has": (f"{PUT} > parameters > 0 > style", "form", []),
    "a header in other letters": ("components > parameters > Trace > name", "x-trace", []),
    "a shared parameter required": (
        "components > parameters > Trace > required",
        True,
        ["parameter Trace: required now"],
    ),
    "a body gone": (BODY, GONE, ["setThing body: no longer there"]),
    "a body required": (f"{BODY} > required", True, ["setThing body: required now"]),
    "a body more": ("paths > /things/{id} > delete > requestBody", {"content": {}}, []),
    "a required body more": (
        "paths > /things/{id} > delete > requestBody",
        {"required": True, "content": {}},
        ["deleteThing body: required now"],
    ),
    "a smaller body": (f"{BODY} > x-max-bytes", 999, ["setThing body: x-max-bytes was 1000, is 999"]),
    "a larger body": (f"{BODY} > x-max-bytes", 1001, []),
    "a media type gone": (
        f"{BODY} > content > application/json",
        GONE,
        ["setThing body application/json: no longer there"],
    ),
    "a media type more": (f"{BODY} > content > text/plain", {}, []),
    "another encoding": (
        f"{BODY} > content > multipart/form-data > encoding > a > contentType",
        "text/html",
        ["setThing body multipart/form-data: encoding changed, look"],
    ),
    "another key": (
        f"{PUT} > security",
        [{"Card": []}],
        ["setThing: security demands more: was Key, is Card"],
    ),
    "two keys at once": (
        f"{PUT} > security",
        [{"Key": [], "Card": []}],
        ["setThing: security demands more: was Key, is Card and Key"],
    ),
    "either key": (
        f"{PUT} > security",
        [{"Key": []}, {"Card": []}],
        ["setThing: security demands less, look: was Key, is Card or Key"],
    ),
    "a new scheme more": (f"{PUT} > security", [{"Key": []}, {"Token": []}], []),
    "a new scheme instead": (
        f"{PUT} > security",
        [{"Token": []}],
        ["setThing: security demands more: was Key, is Token"],
    ),
    "a key more than necessary": (f"{PUT} > security", [{"Key": []}, {"Key": [], "Card": []}], []),
    "no key": (f"{PUT} > security", [], ["setThing: security demands less, look: was Key, is open to all"]),
    "the same key, repeated": (f"{PUT} > security", [{"Key": []}], []),
    "no security at all": (
        "security",
        GONE,
        [
            "setThing: security demands less, look: was Key, is open to all",
            "deleteThing: security demands less, look: was Key, is open to all",
        ],
    ),
    "a key in another header": (
        f"{SCHEME} > name",
        "apikey",
        ['security scheme Key: name was "key", is "apikey"'],
    ),
    "another scope": (f"{PUT} > x-scope", "all", ['setThing: x-scope was "things", is "all"']),
    "a scope of the scheme": (f"{SCHEME} > x-scope", "all", ['deleteThing: x-scope "all" is new']),
    "a scheme gone": ("components > securitySchemes > Card", GONE, ["security scheme Card: no longer there"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_operation_changes_are_compared(name: str) -> None:
    place, value, expected = CHANGES[name]
    assert list_lines(PLAIN, change_contract(PLAIN, place, value)) == expected


def test_contract_equals_itself() -> None:
    assert list_lines(PLAIN, PLAIN) == []


def test_removed_security_requirement_may_not_be_required_by_any_operation() -> None:
    free = change_contract(PLAIN, f"{PUT} > security", [])
    assert list_lines(free, PLAIN) == ["setThing: security demands more: was open to all, is Key"]
