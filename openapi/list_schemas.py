"""Validate a body with one long list entry by entry, and return all faults of all entries.

The validator holds the GIL during a call. With one call per entry, other threads and tasks can run in between. Each
entry is reduced to the parts that can be invalid, so that no call takes long.
"""

from itertools import chain, islice
from typing import Any

from domain.errors import Violation
from openapi.errors.faults import DescribeFault
from openapi.schemas import MAX_FAULTS, Schema, compile_validator, iterate_faults

MAX_UNKNOWN = 10
"""Maximum reported unknown properties per object. The schema limits all other faults."""

MAX_TEXT = 2000
"""More characters than the longest valid text of an entry: longer texts are invalid in any case."""

SHORT = 200
"""Maximum entries that are validated in the event loop. Longer lists use a thread, regardless of their bytes."""


class ListSchema:
    """The schema of an object with a list of more than `MAX_FAULTS` entries. All values and entries are flat."""

    def __init__(self, schema: dict[str, Any], components: dict[str, Any], describe: DescribeFault) -> None:
        outer = _resolve(schema, components)
        self._list = _find_long_list(outer, components) or ""
        self._max_items: int = outer["properties"][self._list]["maxItems"]
        items = outer["properties"][self._list]["items"]
        without_items = {**outer["properties"][self._list], "items": {}}
        properties = {**outer["properties"], self._list: without_items}
        self._outer_names = frozenset(properties)
        self._names = frozenset(_resolve(items, components)["properties"])
        self._outer = compile_validator({**outer, "properties": properties}, components)
        self._items = compile_validator(items, components)
        self._describe = describe

    def is_long(self, value: Any) -> bool:
        """Return whether validating the entries would block the event loop for too long."""
        entries = value.get(self._list) if isinstance(value, dict) else None
        return isinstance(entries, list) and len(entries) > SHORT

    def find_violations(self, value: Any) -> list[Violation]:
        """Return all faults of a value. For a list that is too long, check only the allowed number of entries."""
        entries = value.get(self._list) if isinstance(value, dict) else None
        shallow = _flatten(value, self._outer_names)
        if isinstance(entries, list):
            # One excess entry is enough to report the excess.
            shallow[self._list] = [None] * min(len(entries), self._max_items + 1)
        found: list[Violation | None] = [
            self._describe(fault, "") for error in self._outer.iter_errors(shallow) for fault in iterate_faults(error)
        ]
        for index, entry in enumerate(islice(entries if isinstance(entries, list) else (), self._max_items)):
            flat = _flatten(entry, self._names)
            if not self._items.is_valid(flat):
                for error in self._items.iter_errors(flat):
                    for fault in iterate_faults(error):
                        fault.path[:0] = [self._list, index]
                        found.append(self._describe(fault, ""))
        return [violation for violation in found if violation is not None]


def compile_body_schema(
    schema: dict[str, Any], components: dict[str, Any], describe: DescribeFault
) -> Schema | ListSchema:
    """Return the schema of a body, compiled for validation as a whole or by entry."""
    has_long_list = _find_long_list(_resolve(schema, components), components) is not None
    return ListSchema(schema, components, describe) if has_long_list else Schema(schema, components, describe)


def _find_long_list(schema: dict[str, Any], components: dict[str, Any]) -> str | None:
    properties = {name: _resolve(inner, components) for name, inner in schema.get("properties", {}).items()}
    return next((name for name, inner in properties.items() if inner.get("maxItems", 0) > MAX_FAULTS), None)


def _resolve(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _flatten(value: Any, names: frozenset[str]) -> Any:
    """Return an object reduced to what the validator needs: no nested values, and few unknown properties."""
    if not isinstance(value, dict):
        return _flatten_scalar(value)
    if len(value) > len(names) + MAX_UNKNOWN:
        unknown = islice((name for name in value if name not in names), MAX_UNKNOWN)
        kept = {name: value[name] for name in chain(names & value.keys(), unknown)}
    else:
        kept = value
    return {name[:MAX_TEXT]: _flatten_scalar(inner) for name, inner in kept.items()}


def _flatten_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT] if len(value) > MAX_TEXT else value
    if isinstance(value, dict):
        return {}
    return [] if isinstance(value, list) else value
