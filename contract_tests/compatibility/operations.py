"""Compare contracts operation by operation: requests here, responses in `answers.py`."""

from collections.abc import Iterator

from contract_tests.compatibility.answers import Answers
from contract_tests.compatibility.differences import GONE, LOOK, NEW, Difference, Side, describe_change
from contract_tests.compatibility.documents import Document, Node
from contract_tests.compatibility.keywords import upper_limit
from contract_tests.compatibility.parts import Parts
from contract_tests.compatibility.security import Security

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_OF_OPERATIONS = frozenset({"operationId", "tags", "parameters", "requestBody", "responses", "security"})


def differences(old: Node, new: Node) -> list[Difference]:
    """Return the incompatible changes between two contracts, in the order of the old one, without duplicates."""
    return list(dict.fromkeys(_Comparison(Document(old), Document(new)).differences()))


class _Comparison:
    """Two contracts, and the comparisons of the parts of their operations."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old = old
        self._new = new
        self._parts = Parts(old, new)
        # With `x-outgoing` the service sends the requests, and others answer them.
        self._is_outgoing = bool(old.contents.get("x-outgoing"))
        self._requests, answers = (Side.ANSWERS, Side.REQUESTS) if self._is_outgoing else (Side.REQUESTS, Side.ANSWERS)
        self._answers = Answers(self._parts, answers)
        self._security = Security(old.contents, new.contents)

    def differences(self) -> Iterator[Difference]:
        default_servers = [{"url": "/"}]
        old, new = self._old.contents, self._new.contents
        if self._old.plain(old.get("servers", default_servers)) != self._new.plain(new.get("servers", default_servers)):
            yield Difference("servers", LOOK)
        if self._is_outgoing != bool(new.get("x-outgoing")):
            yield Difference("x-outgoing", LOOK)
        if self._is_outgoing:
            yield from self._new_operations()
        yield from self._security.schemes()
        for path, operations in old["paths"].items():
            if path not in new["paths"]:
                yield Difference(path, GONE)
                continue
            changed = new["paths"][path]
            yield from self._parts.compare_others(path, operations, changed, frozenset({*METHODS, "parameters"}))
            for method in METHODS:
                if method in operations and method not in changed:
                    yield Difference(f"{method.upper()} {path}", GONE)
                elif method in operations:
                    whole = [_with_parameters_of_path(item, method) for item in (operations, changed)]
                    yield from self._operation(f"{method.upper()} {path}", *whole)

    def _new_operations(self) -> Iterator[Difference]:
        """Yield operations that receivers do not have."""
        for path, operations in self._new.contents["paths"].items():
            for method in METHODS:
                if method in operations and method not in self._old.contents["paths"].get(path, {}):
                    yield Difference(f"{method.upper()} {path}", NEW)

    def _operation(self, place: str, old: Node, new: Node) -> Iterator[Difference]:
        address = old.get("operationId", place)
        for keyword in ("operationId", "tags"):
            if old.get(keyword) != new.get(keyword):
                yield Difference(address, describe_change(keyword, old.get(keyword), new.get(keyword)))
        yield from self._security.differences(address, old, new)
        yield from self._parts.compare_others(address, old, new, _OF_OPERATIONS)
        yield from self._parameters(address, old["parameters"], new["parameters"])
        yield from self._body(f"{address} body", old.get("requestBody"), new.get("requestBody"))
        yield from self._answers.differences(address, old["responses"], new["responses"])

    def _parameters(self, address: str, old: list[Node], new: list[Node]) -> Iterator[Difference]:
        before = {_key(self._old.resolve(node)): node for node in old}
        now = {_key(self._new.resolve(node)): node for node in new}
        for key, node in before.items():
            place = f"{address} {' '.join(key)}"
            if key in now:
                yield from self._parts.compare_parameter(place, self._requests, node, now[key])
            else:
                yield Difference(place, GONE)
        for key, node in now.items():
            is_required = self._requests is Side.REQUESTS and self._new.resolve(node).get("required")
            if key not in before and is_required:
                yield Difference(f"{address} {' '.join(key)}", "required now")

    def _body(self, address: str, old: Node | None, new: Node | None) -> Iterator[Difference]:
        before = None if old is None else self._old.resolve(old)
        now = None if new is None else self._new.resolve(new)
        if now is None:
            if before is not None:
                yield Difference(address, GONE)
            return
        is_required, was_required = bool(now.get("required")), bool((before or {}).get("required"))
        if is_required != was_required and is_required == (self._requests is Side.REQUESTS):
            yield Difference(address, "required now" if is_required else "no longer always there")
        if before is None:
            return
        limits = before.get("x-max-bytes"), now.get("x-max-bytes")
        text = upper_limit("x-max-bytes", self._requests, *limits)
        if text is not None:
            yield Difference(address, text)
        yield from self._parts.compare_content(address, self._requests, before, now)


def _with_parameters_of_path(operations: Node, method: str) -> Node:
    """Return an operation with the parameters of its path before its own, which take precedence."""
    operation: Node = operations[method]
    parameters = [*operations.get("parameters", []), *operation.get("parameters", [])]
    return {**operation, "parameters": parameters}


def _key(parameter: Node) -> tuple[str, str]:
    """Return the key of a parameter: its location and name. Names of headers are case-insensitive."""
    place, name = parameter["in"], parameter["name"]
    return place, name.lower() if place == "header" else name
