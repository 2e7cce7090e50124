"""The address of a caller."""

from ipaddress import ip_network
from typing import Any

import pytest

from openapi.observation.peers import MAX_HOPS, TrustedProxies, compute_source

PROXIES = TrustedProxies(tuple(map(ip_network, ("192.0.2.7", "10.0.0.0/8", "2001:db8::/32"))))
PROXY = "192.0.2.7"


def find_peer(*headers: tuple[str, str], client: str | None = PROXY, proxies: TrustedProxies = PROXIES) -> str | None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope: dict[str, Any] = {"client": client and (client, 1), "headers": encoded}
    return proxies.find_peer(scope)


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("198.51.100.1,10.1.2.3,2001:db8::5", "198.51.100.1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:DB9::1]:4711", "2001:db9::1"),
        ("2001:db9::1", "2001:db9::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("198.51.100.1, unknown", PROXY),
        ("198.51.100.1, nonsense, 10.1.2.3", "10.1.2.3"),
        ("198.51.100.1,", PROXY),
        ("\xff\xfe", PROXY),
        ("x" * 60_000, PROXY),
        ("198.51.100.1" + ",10.0.0.1" * MAX_HOPS, "10.0.0.1"),
    ],
)
def test_peer_of_is_the_right_most_address_that_is_not_a_proxy(header: str, peer: str) -> None:
    assert find_peer(("x-forwarded-for", header)) == peer


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ("for=203.0.113.9, for=198.51.100.1;proto=https;by=10.0.0.1", "198.51.100.1"),
        ('proto=https; For="[2001:db9::1]:4711"', "2001:db9::1"),
        ('for="198.51.100.1:80", for=10.1.2.3', "198.51.100.1"),
        ("for=198.51.100.1, for=_hidden", PROXY),
        ("for=unknown", PROXY),
        ("by=198.51.100.1", PROXY),
        ("xfor=198.51.100.1", PROXY),
        ("", PROXY),
    ],
)
def test_peer_of_reads_the_standard_header(header: str, peer: str) -> None:
    assert find_peer(("forwarded", header)) == peer


def test_peer_of_joins_headers_and_prefers_x_forwarded_for() -> None:
    assert find_peer(("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1")) == "198.51.100.1"
    assert find_peer(("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=203.0.113.9")) == "198.51.100.1"


@pytest.mark.parametrize("client", ["198.51.100.1", "2001:db9::1", "127.0.0.1", None])
def test_peer_of_trusts_only_listed_proxies(client: str | None) -> None:
    for header in (("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")):
        assert find_peer(header, client=client) == client
        assert find_peer(header, proxies=TrustedProxies()) == PROXY


def test_source_of_groups_the_addresses_of_one_subscriber() -> None:
    assert compute_source("2001:db8:1:2:3:4:5:6") == compute_source("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert compute_source("2001:db8:1:3::1") != compute_source("2001:db8:1:2::1")
    assert compute_source("::ffff:192.0.2.1") == compute_source("192.0.2.1") == "192.0.2.1"
    assert compute_source("fe80::1%eth0") == "fe80::/64"
    assert compute_source(None) == compute_source("@") == "-"
