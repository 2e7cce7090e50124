"""The address of a caller: the peer of its connection, or the address that a trusted proxy forwards."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

PEER = "budkavle.peer"
"""The key of the caller's address in an ASGI scope; None if the connection has no address."""

MAX_HOPS = 32
"""Maximum forwarded addresses that are parsed, from the right."""

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose forwarding headers are trusted."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)
        self._contains = lru_cache(maxsize=1024)(self._find)

    def contains(self, host: str | None) -> bool:
        """Return whether an address is that of a trusted proxy."""
        return bool(self._networks) and host is not None and self._contains(host)

    def _find(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def find_peer(self, scope: Scope) -> str | None:
        """Return the address of the caller of a request.

        It is the right-most forwarded address that is not a trusted proxy: a caller can write all that is left of it.
        `X-Forwarded-For` takes precedence over `Forwarded` (RFC 7239). At an entry that is not an address the search
        ends, and the proxy that forwarded the entry counts as the caller.
        """
        client: tuple[str, int] | None = scope["client"]
        peer = client[0] if client else None
        if not self.contains(peer):
            return peer
        for host in _list_forwarded(scope["headers"]):
            address = parse_address(host)
            if address is None:
                break
            peer = str(address)
            if not self.contains(peer):
                break
        return peer


def parse_address(host: str) -> Address | None:
    """Return an IP address, with IPv4-mapped IPv6 converted to IPv4; None for any other text."""
    try:
        address: Address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=1024)
def compute_source(peer: str | None) -> str:
    """Return the network of one caller: an IPv4 address, or the /64 of an IPv6 address, which is one subscriber's.

    >>> compute_source("2001:db8::1:2"), compute_source("::ffff:192.0.2.1"), compute_source(None)
    ('2001:db8::/64', '192.0.2.1', '-')
    """
    address = parse_address(peer) if peer else None
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"
    return "-" if address is None else str(address)


_HOST_BITS = 64


def _list_forwarded(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Yield forwarded addresses from the right. An entry in another form yields a text that is not an address."""
    values = {b"x-forwarded-for": b"", b"forwarded": b""}
    for name, value in headers:
        if name in values:
            values[name] = b"%s,%s" % (values[name], value) if values[name] else value
    is_standard = not values[b"x-forwarded-for"]
    text = values[b"forwarded" if is_standard else b"x-forwarded-for"].decode("latin-1")
    for entry in reversed(text.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if text else []):
        yield _parse_forwarded(entry) if is_standard else _parse_host(entry.strip())


def _parse_forwarded(entry: str) -> str:
    # A quoted comma would split an entry, but nodes contain none (RFC 7239, section 6).
    found = _FOR.search(entry)
    return _parse_host(found[1] if found[1] is not None else found[2]) if found else ""


def _parse_host(node: str) -> str:
    """Return the host of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`."""
    if node.startswith("["):
        return node[1:].partition("]")[0]
    host, colon, _ = node.partition(":")
    return host if colon and "." in host else node


_FOR = re.compile(r"""(?:^|;)[ \t]*for=(?:"([^"]*)"|([^";, \t]*))""", re.IGNORECASE)
