"""Compare schemas and the schemas that they refer to."""

from collections.abc import Iterator

from contract_tests.compatibility.differences import GONE, LOOK, Difference, Side
from contract_tests.compatibility.documents import Document, Node, is_assertion, reference_name
from contract_tests.compatibility.keywords import RULES

_STRUCTURE = frozenset({"properties", "required", "items", "additionalProperties"})


class Schemas:
    """Compares schemas of two contracts. Schemas with the same name in both are compared once per side."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old = old
        self._new = new
        self._compared: set[tuple[str, Side]] = set()
        self._open: set[tuple[str, int]] = set()

    def differences(self, address: str, side: Side, old: Node, new: Node) -> Iterator[Difference]:
        """Yield the incompatible changes of a schema. Their addresses begin with `address`."""
        name, new_name = reference_name(old), reference_name(new)
        if name is None:
            yield from self._contents(address, side, old, self._new.resolve(new))
        elif name == new_name:
            if (name, side) not in self._compared:
                self._compared.add((name, side))
                yield from self._contents(f"{side} {name}", side, self._old.resolve(old), self._new.resolve(new))
        else:
            yield Difference(address, f"was named {name}, is {f'named {new_name}' if new_name else 'without a name'}")
            target = self._new.resolve(new)
            # Comparing a recursive schema would not terminate.
            pair = (name, id(target))
            if pair not in self._open:
                self._open.add(pair)
                yield from self._contents(address, side, self._old.resolve(old), target)
                self._open.remove(pair)

    def _contents(self, address: str, side: Side, old: Node, new: Node) -> Iterator[Difference]:
        for keyword in sorted((old.keys() | new.keys()) - _STRUCTURE):
            was, now = old.get(keyword), new.get(keyword)
            if not is_assertion(keyword):
                continue
            if keyword not in RULES:
                # Whether it is narrower is not computed. Equal texts may refer to different schemas, so compare without
                # references.
                text = None if self._old.plain(was) == self._new.plain(now) else f"{keyword} {LOOK}"
            else:
                text = None if was == now else RULES[keyword](keyword, side, was, now)
            if text is not None:
                yield Difference(address, text)
        yield from self._properties(address, side, old, new)
        if "items" in old or "items" in new:
            yield from self.differences(f"{address}[]", side, old.get("items", {}), new.get("items", {}))
        yield from self._others(address, side, old.get("additionalProperties", {}), new.get("additionalProperties", {}))

    def _properties(self, address: str, side: Side, old: Node, new: Node) -> Iterator[Difference]:
        was, now = old.get("properties", {}), new.get("properties", {})
        required_before, required_now = set(old.get("required", [])), set(new.get("required", []))
        for name in was:
            if name not in now:
                yield Difference(f"{address}.{name}", GONE)
        if side is Side.REQUESTS:
            for name in sorted(required_now - required_before):
                yield Difference(f"{address}.{name}", "required now")
        else:
            # Properties that no longer exist are already reported.
            for name in sorted((required_before - required_now) - (was.keys() - now.keys())):
                yield Difference(f"{address}.{name}", "no longer always there")
        for name in was:
            if name in now:
                yield from self.differences(f"{address}.{name}", side, was[name], now[name])

    def _others(self, address: str, side: Side, old: Node | bool, new: Node | bool) -> Iterator[Difference]:
        """Compare unnamed properties: `False` forbids them, `True` or an empty schema allows any."""
        was, now = ({} if value is True else value for value in (old, new))
        if was is not False and now is not False:
            if was or now:
                yield from self.differences(f"{address}.*", side, was, now)
        elif side is Side.REQUESTS and was is not False:
            yield Difference(address, "unknown properties are refused now")
        elif side is Side.ANSWERS and now is not False:
            yield Difference(address, "may have unknown properties now")
