"""Decide which IP addresses may be called. Subscribers choose host names, and DNS can map a name to any address.

The check happens where the socket is created, so the address that is checked is the one that is connected to.

- Public addresses are always allowed; all others only for systems with `allowPrivateAddresses`.
- That setting allows `PRIVATE` in addition: private networks, the shared address space of carriers and clusters, and
  loopback.
- Addresses outside both groups are never allowed: link-local addresses, where clouds serve the metadata of a machine
  including its credentials (169.254.0.0/16, fe80::/10), multicast, unspecified, reserved, documentation and benchmark
  networks, and all other blocks of IANA's special-purpose registries. `METADATA` is the same service at addresses that
  would otherwise be private or public.
- IPv4 inside IPv6: mapped addresses and the well-known NAT64 prefix are checked as the embedded IPv4 address, because
  packets go there. 6to4, Teredo and everything else outside 2000::/3 are rejected. The service cannot know a
  network-specific NAT64 prefix; networks that use one must filter it themselves.
"""

import ipaddress
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

PRIVATE = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
    )
)
METADATA = tuple(
    ip_network(network)
    for network in (
        # AWS: metadata, credentials of pods, time and DNS.
        "fd00:ec2::/32",
        # Google, Scaleway, Alibaba.
        "fd20:ce::254/128",
        "fd00:42::42/128",
        "100.100.100.200/32",
        # Azure: certificates and settings of the machine, at a public address.
        "168.63.129.16/32",
    )
)
"""Cloud services for the machines that run in the cloud."""

_UNICAST = ip_network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(network)
    for network in (
        # AS112 for reverse look-ups of private addresses, and AMT: anycast, so the nearest network decides who
        # responds.
        "192.31.196.0/24",
        "192.175.48.0/24",
        "2620:4f:8000::/48",
        "192.52.193.0/24",
        # Some versions of Python treat the 6to4 relays and 6to4 itself as public.
        "192.88.99.0/24",
        "2002::/16",
        # The rest of the IETF's own block, including Teredo, and both documentation blocks.
        "192.0.0.0/24",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    )
)


class AddressRefused(OSError):
    """The address must not be called. It is an `OSError`, like all errors that end an attempt to connect."""


def may_be_called(address: str, *, allow_private: bool) -> bool:
    """Return whether an IP address may be called. Text that is not an IP address may not."""
    try:
        ip = _unwrap(ip_address(address))
    except ValueError:
        return False
    if any(ip in network for network in METADATA):
        return False
    return _is_public(ip) or (allow_private and any(ip in network for network in PRIVATE))


def make_socket_factory(*, allow_private: bool) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return a socket factory that raises `AddressRefused` for addresses that must not be called.

    aiohttp calls the factory with the address that it connects to, whether the address came from DNS or from the URL.
    """

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not may_be_called(address[0], allow_private=allow_private):
            raise AddressRefused(address[0])
        return socket.socket(family, kind, protocol)

    return make


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return IPv4Address(ip.packed[-4:])
    return ip


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return (
        ip.is_global
        and not ip.is_multicast
        and (ip.version == 4 or ip in _UNICAST)  # noqa: PLR2004  # The 4 of IPv4 needs no name.
        and not any(ip in network for network in _NOT_PUBLIC)
    )
