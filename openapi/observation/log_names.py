"""Restrict paths and fields in logs to names of the contracts, excluding data of callers.

A path may contain a party's id, and an unknown property may be any text, so each name outside the contracts becomes
`*`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from domain.errors import Violation

MAX_SEGMENTS = 12
"""Maximum logged segments of a path."""

MAX_FIELDS = 10
"""Maximum logged fields of a request."""

UNKNOWN = "*"

_NAME = re.compile(r"[^.\[\]]+")
_INDEX = re.compile(r"\[\d+\]")


class LogNames:
    """The names in the contracts: literal segments of paths, parameters and properties."""

    def __init__(self, specs: Iterable[Mapping[str, Any]]) -> None:
        self._segments = {""}
        self._fields = {"body"}
        for spec in specs:
            for path in spec["paths"]:
                self._segments.update(segment for segment in path.split("/") if "{" not in segment)
            self._fields.update(_list_field_names(spec))

    def redact_path(self, raw_path: bytes) -> str:
        """Return a path for the log: `/webmessages/*`.

        >>> LogNames([{"paths": {"/webmessages/{id}": {}}}]).path(b"/x/webmessages/7?q=1")
        '/*/webmessages/*'
        """
        segments = raw_path.split(b"?", 1)[0].decode("ascii", "replace").split("/")
        names = [segment if segment in self._segments else UNKNOWN for segment in map(unquote, segments)]
        return "/".join([*names[:MAX_SEGMENTS], "…"] if len(names) > MAX_SEGMENTS else names)

    def list_fields(self, violations: Iterable[Violation]) -> list[str]:
        """Return the fields of violations without indexes and duplicates, sorted: `attachments[].fileName`."""
        fields = {violation.field for violation in violations}
        names = sorted({_INDEX.sub("[]", field) for field in fields})[:MAX_FIELDS]
        return sorted({_NAME.sub(self._replace_unknown, name) for name in names})

    def _replace_unknown(self, found: re.Match[str]) -> str:
        return found[0] if found[0] in self._fields else UNKNOWN


def _list_field_names(node: Any) -> Iterator[str]:
    """Yield the names of all parameters and properties in a part of a contract."""
    if isinstance(node, list):
        for item in node:
            yield from _list_field_names(item)
    elif isinstance(node, dict):
        if isinstance(node.get("in"), str) and isinstance(node.get("name"), str):
            yield node["name"]
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for key, value in node.items():
            if key not in {"example", "examples"}:
                yield from _list_field_names(value)
