"""Compare the common parts of requests and responses: parameters and headers, and content by media type."""

from collections.abc import Iterator

from contract_tests.compatibility.differences import GONE, LOOK, Difference, Side
from contract_tests.compatibility.documents import Document, Node, is_assertion, reference_name
from contract_tests.compatibility.schemas import Schemas

_DEFAULT_STYLE = {"query": "form", "cookie": "form", "path": "simple", "header": "simple"}


class Parts:
    """Compares parts of two contracts. Parts with the same name in both are compared once."""

    def __init__(self, old: Document, new: Document) -> None:
        self.old = old
        self.new = new
        self._schemas = Schemas(old, new)
        self._compared: set[str] = set()

    def address(self, address: str, kind: str, old: Node, new: Node) -> str | None:
        """Return the address for differences of a part: its name if both have it. None if compared already."""
        name = reference_name(old)
        if name is None or name != reference_name(new):
            return address
        if f"{kind} {name}" in self._compared:
            return None
        self._compared.add(f"{kind} {name}")
        return f"{kind} {name}"

    def compare_others(self, address: str, old: Node, new: Node, known: frozenset[str]) -> Iterator[Difference]:
        """Yield differences of keywords that are not compared in detail."""
        for keyword in sorted((old.keys() | new.keys()) - known):
            if is_assertion(keyword) and self.old.plain(old.get(keyword)) != self.new.plain(new.get(keyword)):
                yield Difference(address, f"{keyword} {LOOK}")

    def compare_parameter(self, address: str, side: Side, old: Node, new: Node) -> Iterator[Difference]:
        """Yield differences of a parameter, or of a header of a response."""
        place = self.address(address, "parameter" if side is Side.REQUESTS else "header", old, new)
        if place is None:
            return
        was, now = (self._with_style(node) for node in (self.old.resolve(old), self.new.resolve(new)))
        if side is Side.REQUESTS and now.get("required") and not was.get("required"):
            yield Difference(place, "required now")
        if side is Side.ANSWERS and was.get("required") and not now.get("required"):
            yield Difference(place, "no longer always there")
        yield from self.compare_others(place, was, now, frozenset({"in", "name", "required", "schema"}))
        yield from self._schemas.differences(place, side, was.get("schema", {}), now.get("schema", {}))

    def compare_content(self, address: str, side: Side, old: Node, new: Node) -> Iterator[Difference]:
        """Yield differences of bodies, by media type."""
        was, now = old.get("content", {}), new.get("content", {})
        for media_type, node in was.items():
            place = f"{address} {media_type}"
            if media_type not in now:
                yield Difference(place, GONE)
                continue
            changed = now[media_type]
            yield from self.compare_others(place, node, changed, frozenset({"schema"}))
            yield from self._schemas.differences(place, side, node.get("schema", {}), changed.get("schema", {}))

    @staticmethod
    def _with_style(node: Node) -> Node:
        """Return a parameter or header with the default values of its style."""
        style = node.get("style", _DEFAULT_STYLE[node.get("in", "header")])
        return {"explode": style == "form", "allowReserved": False, "allowEmptyValue": False, **node, "style": style}
