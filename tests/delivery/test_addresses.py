"""Addresses that may be called, and attempts to circumvent the check."""

import pytest

from delivery.addresses import AddressRefused, make_socket_factory, may_be_called
from domain.deliveries import Reason
from tests.delivery.receiving import (
    Addresses,
    Recorder,
    build_base_url,
    build_claimed_delivery,
    build_receiver,
    send,
    send_one,
)

PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "2a00:1450:400e::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    # Neighbours of special address blocks.
    "168.63.129.15",
    "168.63.129.17",
    "192.31.195.255",
    "192.31.197.0",
    "192.52.192.1",
    "192.175.47.255",
    "192.175.49.0",
    "2620:4f:7fff::1",
    "2620:4f:8001::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "::1",
    "fd12:3456::1",
    "fd00:ec1::1",
    "fd00:ec3::1",
    "100.100.100.199",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::10.1.2.3",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "64:ff9b::169.254.169.254",
    "64:ff9b::",
    "64:ff9b:1::10.1.2.3",
    "::127.0.0.1",
    "::8.8.8.8",
    "2002:7f00:1::",
    "2002:a01:203::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "fec0::1",
    "5f00::1",
    "4000::1",
    "ff02::1",
    "ff0e::1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    # Azure, and more addresses of AWS and Scaleway.
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::168.63.129.16",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::a83f:8110",
    "2002:a83f:8110::1",
    "fd00:ec2::23",
    "fd00:ec2::253",
    "fd00:ec2::123",
    "fd00:42::42",
    # Other IANA registries.
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.170",
    "192.31.196.0",
    "192.31.196.255",
    "192.52.193.1",
    "192.88.99.2",
    "192.175.48.1",
    "192.175.48.42",
    "::ffff:192.175.48.6",
    "64:ff9b::192.31.196.1",
    "198.19.255.255",
    "100:0:0:1::1",
    "2001:1::1",
    "2001:1::3",
    "2001:2::1",
    "2001:3::1",
    "2001:4:112::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "2620:4f:8000::1",
    "2620:4f:8000:ffff::1",
    "::ffff:0:169.254.169.254",
    "localhost",
    "127.1",
    "0177.0.0.1",
    "",
]


@pytest.mark.parametrize(
    ("address", "by_all", "by_private"),
    [
        *((each, True, True) for each in PUBLIC),
        *((each, False, True) for each in PRIVATE),
        *((each, False, False) for each in NEVER),
    ],
)
def test_public_addresses_may_be_called(address, by_all, by_private):
    assert may_be_called(address, allow_private=False) is by_all
    assert may_be_called(address, allow_private=True) is by_private


def test_checked_socket_is_not_created_for_a_refused_address():
    with pytest.raises(AddressRefused, match=r"^10\.0\.0\.1$"):
        make_socket_factory(allow_private=False)((2, 1, 6, "", ("10.0.0.1", 443)))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "0x7f.1"])
def test_private_address_is_not_called(run, peer, host):
    server = peer(Recorder())
    response = run(send_one(build_receiver(build_base_url(server, host), allow_private_addresses=False)))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)
    assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_private_address_is_called_if_allowed(run, peer, host):
    server = peer(Recorder())
    assert run(send_one(build_base_url(server, host))).status == 200
    assert server.connections == 1


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0", "[::]"])
def test_special_addresses_are_never_called(run, peer, host):
    response = run(send_one(build_base_url(peer(Recorder()), host)))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["2606:4700:4700::1111", "127.0.0.1"],
        ["::1", "8.8.8.8"],
    ],
)
def test_name_with_a_private_address_is_not_called(run, peer, addresses):
    server = peer(Recorder())
    url = build_base_url(server, "receiver.example")
    response = run(send_one(build_receiver(url, allow_private_addresses=False), resolver=Addresses(*addresses)))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)
    assert server.connections == 0


def test_name_is_checked_for_each_call(run, peer):
    """The first call connects to the resolved address; then the name resolves to an address that may not be called."""
    server = peer(Recorder(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    names = Addresses("127.0.0.1")
    here, elsewhere = (build_receiver(build_base_url(server, name)) for name in ("a.example", "b.example"))

    class Changing(Addresses):
        async def resolve(self, host, port=0, family=0):
            names.addresses = ("127.0.0.1",) if host == "a.example" else ("127.0.0.1", "169.254.169.254")
            return await names.resolve(host, port, family)

    first, second = run(send(build_claimed_delivery(here), build_claimed_delivery(elsewhere), resolver=Changing()))
    assert (first.status, second.reason) == (200, Reason.ADDRESS)
    assert server.connections == 1


@pytest.mark.parametrize("shown", [["8.8.8.8"], ["8.8.8.8", "2606:4700:4700::1111"]])
def test_name_that_changes_between_check_and_connection_is_not_called(run, peer, shown):
    """DNS rebinding: the name is public during the check, and resolves to this machine for the connection."""

    class Shifting(dict):
        looks = 0

        def __getitem__(self, key):
            if key == "host":
                self.looks += 1
                return self["shown"] if self.looks == 1 else "127.0.0.1"
            return super().__getitem__(key)

    class Rebinding(Addresses):
        def entry(self, host, port, address):
            return Shifting(super().entry(host, port, address), shown=address)

    server = peer(Recorder())
    names = Rebinding(*shown)
    to = build_receiver(build_base_url(server, "receiver.example"), allow_private_addresses=False)
    response = run(send_one(to, resolver=names))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)
    assert names.lookups == 1
    assert server.connections == 0
