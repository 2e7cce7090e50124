"""A contract and the references within it."""

from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]

ANNOTATIONS = frozenset({"description", "summary", "title", "example", "examples", "externalDocs", "deprecated", "xml"})
"""Keywords that inform people and constrain nothing."""


def is_assertion(keyword: str) -> bool:
    """Return whether a keyword of a schema, a parameter or the like constrains the data."""
    return keyword not in ANNOTATIONS and not keyword.startswith("x-")


@dataclass(frozen=True)
class Document:
    """A contract as read from its file."""

    contents: Node

    def resolve(self, node: Node) -> Node:
        """Return the node, or the node that it refers to."""
        while "$ref" in node:
            reference: str = node["$ref"]
            if not reference.startswith("#/"):
                raise ValueError(f"{reference}: only references within a contract can be compared")
            target: Any = self.contents
            for name in reference.removeprefix("#/").split("/"):
                target = target[name.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def plain(self, node: Any, within: tuple[str, ...] = ()) -> Any:
        """Return the node with all references replaced by their targets, and without annotations.

        A recursive schema keeps its reference.
        """
        if isinstance(node, list):
            return [self.plain(item, within) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            reference = node["$ref"]
            return node if reference in within else self.plain(self.resolve(node), (*within, reference))
        return {
            # Names of properties are not keywords: a property may be called `title`.
            key: {name: self.plain(schema, within) for name, schema in value.items()}
            if key == "properties"
            else self.plain(value, within)
            for key, value in node.items()
            if is_assertion(key)
        }


def reference_name(node: Node) -> str | None:
    """Return the name that a node refers to, such as `Problem`, or None for an inline node."""
    reference: str | None = node.get("$ref")
    if reference is None:
        return None
    kind_and_name = reference.removeprefix("#/components/")
    return kind_and_name.split("/", 1)[-1]
