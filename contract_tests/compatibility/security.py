"""Compare the credentials that callers need."""

from collections.abc import Iterator

from contract_tests.compatibility.differences import GONE, Difference, describe_change
from contract_tests.compatibility.documents import Node

_OF_SCHEMES = ("type", "in", "name", "scheme", "bearerFormat", "flows", "openIdConnectUrl")

Way = frozenset[tuple[str, tuple[str, ...]]]
"""One accepted combination of credentials: all these schemes, each with its scopes."""


class Security:
    """Compares the required credentials of operations of two contracts."""

    def __init__(self, old: Node, new: Node) -> None:
        self._old = old
        self._new = new

    def schemes(self) -> Iterator[Difference]:
        """Yield security schemes that were removed or are presented differently."""
        before, now = (contract.get("components", {}).get("securitySchemes", {}) for contract in (self._old, self._new))
        for name, scheme in before.items():
            address = f"security scheme {name}"
            if name not in now:
                yield Difference(address, GONE)
                continue
            for keyword in _OF_SCHEMES:
                if scheme.get(keyword) != now[name].get(keyword):
                    yield Difference(address, describe_change(keyword, scheme.get(keyword), now[name].get(keyword)))

    def differences(self, address: str, old: Node, new: Node) -> Iterator[Difference]:
        """Yield a changed requirement: demanding more locks out callers, demanding less gives access to others.

        A further combination is no difference if it demands more than an old one, or a scheme that is new.
        """
        before, now = _list_ways(self._old, old), _list_ways(self._new, new)
        locks_out = any(not any(way <= old_way for way in now) for old_way in before)
        known = self._old.get("components", {}).get("securitySchemes", {})
        opens = any(
            not any(old_way <= way for old_way in before) and all(name in known for name, _ in way) for way in now
        )
        if locks_out or opens:
            words = "demands more" if locks_out else "demands less, look"
            yield Difference(address, f"security {words}: was {_describe_ways(before)}, is {_describe_ways(now)}")
        scopes = _find_scope(self._old, old), _find_scope(self._new, new)
        if scopes[0] != scopes[1]:
            yield Difference(address, describe_change("x-scope", *scopes))


def _list_ways(contract: Node, operation: Node) -> set[Way]:
    """Return the accepted combinations of an operation; one without any credentials if none is listed."""
    listed: list[dict[str, list[str]]] = (operation if "security" in operation else contract).get("security") or []
    return {frozenset((name, tuple(sorted(scopes))) for name, scopes in way.items()) for way in listed} or {frozenset()}


def _find_scope(contract: Node, operation: Node) -> str | None:
    """Return the scope that an operation needs. Contracts that were released earlier name it at security schemes."""
    schemes = contract.get("components", {}).get("securitySchemes", {})
    names = {name for way in _list_ways(contract, operation) for name, _ in way}
    of_schemes = {schemes[name]["x-scope"] for name in names if "x-scope" in schemes.get(name, {})}
    return operation.get("x-scope") or " or ".join(sorted(of_schemes)) or None


def _describe_ways(ways: set[Way]) -> str:
    each = (" and ".join(sorted(" ".join((name, *scopes)) for name, scopes in way)) for way in ways)
    return " or ".join(sorted(way or "open to all" for way in each))
