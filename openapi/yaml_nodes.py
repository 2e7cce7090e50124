"""Parse a YAML file into values, and report all faults at once, with their lines."""

import re
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Self

import yaml

from domain.errors import BudkavleError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 20
SHOWN = 60
"""Maximum characters of a wrong value in a message."""

_TAG = "tag:yaml.org,2002:"
_NULL = f"{_TAG}null"
_ALIAS = "alias"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,9})", re.ASCII)
_DAY = re.compile(r"(19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)


class FileWrong(BudkavleError):
    """The file has faults."""


class Nodes:
    """Reads values from a file. Invalid values become None, with an entry in `faults`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.faults: list[tuple[str, int, str]] = []

    @classmethod
    def read(cls, path: Path, max_bytes: int = MAX_BYTES) -> tuple[Self, yaml.Node | None]:
        """Return the nodes of a file, and its only document unless that has faults.

        Raises `BudkavleError` if the file cannot be read or is larger than `max_bytes`.
        """
        try:
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as exc:
            raise BudkavleError(f"{path} cannot be read: {exc.strerror}") from exc
        if len(data) > max_bytes:
            raise BudkavleError(f"{path} is larger than {max_bytes} bytes")
        nodes = cls(str(path))
        return nodes, nodes._parse(data)

    def raise_faults(self, heading: str) -> None:
        """Raise `FileWrong` with the heading and all faults by file and line, if there are any."""
        if self.faults:
            lines = [f"{name}:{line}: {text}" for name, line, text in sorted(self.faults)]
            raise FileWrong("\n".join([heading, *lines]))

    def add_fault(self, node: yaml.Node | int, text: str) -> None:
        """Record a fault of a node or a line."""
        self.faults.append((self._name, node if isinstance(node, int) else get_line(node), text))

    def is_first(self, node: yaml.Node, name: str, seen: dict[str, yaml.Node]) -> bool:
        """Return whether no node of that name was `seen` before. A duplicate is a fault."""
        first = seen.setdefault(name, node)
        if first is not node:
            self.add_fault(node, f"{name} is a duplicate of line {get_line(first)}")
        return first is node

    def _parse(self, data: bytes) -> yaml.Node | None:
        """Return the only document of a file, None if it has faults."""
        try:
            text = data.decode("utf-8-sig")
            node: yaml.Node | None = _Composer(text).get_single_node()
        except UnicodeDecodeError as exc:
            self.add_fault(data[: exc.start].count(b"\n") + 1, "is not UTF-8")
        except yaml.reader.ReaderError as exc:
            self.add_fault(text[: exc.position].count("\n") + 1, "contains a character that YAML does not allow")
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            self.add_fault(mark.line + 1 if mark else 1, f"is not YAML: {exc.problem or exc.context}")
        else:
            if node is None:
                self.add_fault(1, "is empty")
            return node
        return None

    def read_mapping(
        self, node: yaml.Node, name: str, required: Collection[str], optional: Collection[str] = ()
    ) -> dict[str, yaml.Node]:
        """Return the values by key. Optional ones that are null are omitted."""
        known = [*required, *optional]
        if not isinstance(node, yaml.MappingNode):
            self.add_fault(node, f"{name} must be a mapping with {', '.join(known)}{_build_hint(node)}")
            return {}
        values: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            if key not in known:
                self.add_fault(key_node, f"{name} has no key {quote_text(key)}; it has {', '.join(known)}")
            elif key in values:
                self.add_fault(key_node, f"{name} has {key} on line {lines[key]} already")
            else:
                values[key] = value
                lines[key] = get_line(key_node)
        for key in required:
            if key not in values:
                self.add_fault(node, f"{name} lacks {key}")
        return {key: value for key, value in values.items() if key in required or value.tag != _NULL}

    def read_entries(self, node: yaml.Node | None, name: str) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return the keys and values of a mapping with any keys; none if it is absent."""
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self.add_fault(node, f"{name} must be a mapping{_build_hint(node)}")
            return []
        return list(node.value)

    def read_sequence(self, node: yaml.Node | None, name: str) -> list[yaml.Node]:
        """Return the elements of a list; none if it is absent."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.add_fault(node, f"{name} must be a list{_build_hint(node)}")
            return []
        return list(node.value)

    def read_text(self, node: yaml.Node | None, name: str, *, is_secret: bool = False) -> str | None:
        """Return a text that is not blank and has no control characters."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"{_TAG}str":
            is_plain = isinstance(node, yaml.ScalarNode) and node.tag not in {_ALIAS, _NULL} and not is_secret
            self.add_fault(
                node,
                f"{name} must be text{f': put {quote_text(node.value)} in quotes' if is_plain else _build_hint(node)}",
            )
        elif not node.value.strip():
            self.add_fault(node, f"{name} must not be blank")
        elif not node.value.isprintable():
            self.add_fault(node, f"{name} must not contain line breaks or control characters")
        else:
            return str(node.value)
        return None

    def read_number(self, node: yaml.Node | None, name: str, lowest: int, highest: int) -> int | None:
        """Return a decimal integer."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}int" and _NUMBER.fullmatch(node.value):
            number = int(node.value)
            if lowest <= number <= highest:
                return number
        self.add_fault(node, f"{name} must be an integer from {lowest} to {highest}{_build_hint(node)}")
        return None

    def read_flag(self, node: yaml.Node | None, name: str) -> bool:
        """Return a boolean; false if absent."""
        if node is None:
            return False
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}bool" and node.value in {"true", "false"}:
            return bool(node.value == "true")
        self.add_fault(node, f"{name} must be true or false{_build_hint(node)}")
        return False

    def read_day(self, node: yaml.Node | None, name: str) -> date | None:
        """Return a date, quoted or not."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag != _ALIAS and _DAY.fullmatch(node.value):
            try:
                return date.fromisoformat(node.value)
            except ValueError:
                pass
        self.add_fault(node, f"{name} must be a date such as 2024-10-01{_build_hint(node)}")
        return None


def get_line(node: yaml.Node) -> int:
    """Return the line on which a node begins."""
    return int(node.start_mark.line) + 1


def quote_text(text: str) -> str:
    """Return a text of the file for a message: on one line, and truncated."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


class _Composer(yaml.SafeLoader):
    """Composes nodes without resolving aliases: a few nested aliases could exhaust the memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]  # The stubs of PyYAML lack its type.
            return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # The stubs of PyYAML lack its type.
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _build_hint(node: yaml.Node) -> str:
    return "; YAML aliases are not supported, so repeat the value" if node.tag == _ALIAS else ""
