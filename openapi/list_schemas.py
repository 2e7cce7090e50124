"""Checks bodies that are one long list: entry by entry, so that all faults of all entries are found.

The validator takes what it is given in one go, and Python's lock with it. Checked one at a time, entries let others
have their turn; and each is cut to what can be wrong with it, so that none takes long.
"""

from itertools import chain, islice
from typing import Any

from domain.errors import Violation
from openapi.errors.faults import Say
from openapi.schemas import MAX_FAULTS, Schema, compiled, faults_of

MAX_UNKNOWN = 10
"""How many unknown properties of one object are told. All else that can be wrong with it the schema bounds."""

MAX_TEXT = 2000
"""Characters of the longest text that an entry may have, and more: longer ones are too long however they go on."""

SHORT = 200
"""Entries that are checked where they are; more go to a thread, whatever few bytes they took."""


class ListSchema:
    """The schema of an object with one list of more entries than `MAX_FAULTS`. All its values and entries are flat."""

    def __init__(self, schema: dict[str, Any], components: dict[str, Any], say: Say) -> None:
        outer = _resolved(schema, components)
        self._list = _long_list(outer, components) or ""
        self._max_items: int = outer["properties"][self._list]["maxItems"]
        items = outer["properties"][self._list]["items"]
        without_items = {**outer["properties"][self._list], "items": {}}
        properties = {**outer["properties"], self._list: without_items}
        self._outer_names = frozenset(properties)
        self._names = frozenset(_resolved(items, components)["properties"])
        self._outer = compiled({**outer, "properties": properties}, components)
        self._items = compiled(items, components)
        self._say = say

    def is_long(self, value: Any) -> bool:
        """Whether there are so many entries that checking them would keep others waiting."""
        entries = value.get(self._list) if isinstance(value, dict) else None
        return isinstance(entries, list) and len(entries) > SHORT

    def violations(self, value: Any) -> list[Violation]:
        """Every fault of a value; of a list that is too long, those of the entries that it may have."""
        entries = value.get(self._list) if isinstance(value, dict) else None
        shallow = _flat(value, self._outer_names)
        if isinstance(entries, list):
            # One more than it may have is too many, whatever it is.
            shallow[self._list] = [None] * min(len(entries), self._max_items + 1)
        found: list[Violation | None] = [
            self._say(fault, "") for error in self._outer.iter_errors(shallow) for fault in faults_of(error)
        ]
        for index, entry in enumerate(islice(entries if isinstance(entries, list) else (), self._max_items)):
            flat = _flat(entry, self._names)
            if not self._items.is_valid(flat):
                for error in self._items.iter_errors(flat):
                    for fault in faults_of(error):
                        fault.path[:0] = [self._list, index]
                        found.append(self._say(fault, ""))
        return [violation for violation in found if violation is not None]


def schema_of_body(schema: dict[str, Any], components: dict[str, Any], say: Say) -> Schema | ListSchema:
    """The schema of a body, compiled in the way that suits it."""
    has_long_list = _long_list(_resolved(schema, components), components) is not None
    return ListSchema(schema, components, say) if has_long_list else Schema(schema, components, say)


def _long_list(schema: dict[str, Any], components: dict[str, Any]) -> str | None:
    properties = {name: _resolved(inner, components) for name, inner in schema.get("properties", {}).items()}
    return next((name for name, inner in properties.items() if inner.get("maxItems", 0) > MAX_FAULTS), None)


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _flat(value: Any, names: frozenset[str]) -> Any:
    """An object with what the validator has to see of it: nothing within its values, and a few unknown properties."""
    if not isinstance(value, dict):
        return _scalar(value)
    if len(value) > len(names) + MAX_UNKNOWN:
        unknown = islice((name for name in value if name not in names), MAX_UNKNOWN)
        kept = {name: value[name] for name in chain(names & value.keys(), unknown)}
    else:
        kept = value
    return {name[:MAX_TEXT]: _scalar(inner) for name, inner in kept.items()}


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT] if len(value) > MAX_TEXT else value
    if isinstance(value, dict):
        return {}
    return [] if isinstance(value, list) else value
