"""Compare the responses of operations."""

from collections.abc import Iterator

from contract_tests.compatibility.differences import GONE, LOOK, Difference, Side
from contract_tests.compatibility.documents import Node
from contract_tests.compatibility.parts import Parts


class Answers:
    """Compares the responses of operations of two contracts."""

    def __init__(self, parts: Parts, side: Side) -> None:
        self._parts = parts
        self._side = side

    def differences(self, operation: str, old: Node, new: Node) -> Iterator[Difference]:
        """Yield responses that an operation no longer returns, and parts of responses that are new and incompatible."""
        for status, node in old.items():
            if status not in new:
                yield Difference(f"{operation} {status}", GONE)
                continue
            address = self._parts.address(f"{operation} {status}", "response", node, new[status])
            if address is not None:
                was, now = self._parts.old.resolve(node), self._parts.new.resolve(new[status])
                yield from self._answer(address, was, now)

    def _answer(self, address: str, old: Node, new: Node) -> Iterator[Difference]:
        if new.get("content") and not old.get("content"):
            # Clients were generated for a response without content; some do not read it and fail on the next response.
            yield Difference(address, "has content now")
        yield from self._parts.compare_content(address, self._side, old, new)
        now = {name.lower(): header for name, header in new.get("headers", {}).items()}
        for name, header in old.get("headers", {}).items():
            place = f"{address} header {name}"
            if name.lower() in now:
                yield from self._parts.compare_parameter(place, self._side, header, now[name.lower()])
            else:
                yield Difference(place, GONE)
        for name, link in old.get("links", {}).items():
            changed = new.get("links", {}).get(name)
            if changed is None:
                yield Difference(f"{address} link {name}", GONE)
            elif self._parts.old.plain(link) != self._parts.new.plain(changed):
                yield Difference(f"{address} link {name}", LOOK)
