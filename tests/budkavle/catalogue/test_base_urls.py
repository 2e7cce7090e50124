"""Base URLs, to which a webhookUrl is appended."""

import pytest

from budkavle.catalogue.base_urls import (
    find_base_url_faults,
    find_token_url_faults,
    normalise_base_url,
    normalise_token_url,
)

GOOD = {
    "https://fasit.example": "https://fasit.example",
    "https://fasit.example/": "https://fasit.example",
    "https://fasit.example/star": "https://fasit.example/star",
    "https://fasit.example/star/": "https://fasit.example/star",
    "HTTPS://Fasit.Example:8443/Star/%C3%A6~(1)": "https://fasit.example:8443/Star/%C3%A6~(1)",
    "https://8.8.8.8:1": "https://8.8.8.8:1",
    "https://[2606:4700::1]:65535/x": "https://[2606:4700::1]:65535/x",
    "https://[::ffff:8.8.8.8]": "https://[::ffff:8.8.8.8]",
    "https://8.example": "https://8.example",
    "https://0x7f.example": "https://0x7f.example",
    "https://xn--fs-kja.example./a.b/..c/...": "https://xn--fs-kja.example./a.b/..c/...",
    "https://localhost/a": "https://localhost/a",
}


@pytest.mark.parametrize("url", GOOD)
def test_base_urls_are_normalised_without_a_final_slash(url: str) -> None:
    assert find_base_url_faults(url, is_private=False) == []
    assert normalise_base_url(url) == GOOD[url]
    # A normalised URL does not change.
    assert normalise_base_url(GOOD[url]) == GOOD[url]


ABSOLUTE, QUERY, USER = "an absolute URL", "a query or a fragment", "a user or a password"
HOST, PORT, PATH = "a host", "a port", "a path"


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("/star", [ABSOLUTE]),
        ("fasit.example/star", [ABSOLUTE]),
        ("//fasit.example", [ABSOLUTE]),
        ("ftp://fasit.example", [ABSOLUTE]),
        ("https:/fasit.example", [ABSOLUTE]),
        ("https:fasit.example", [ABSOLUTE]),
        (" https://fasit.example", [ABSOLUTE]),
        ("https://fasit.example/" + "a" * 1003, [ABSOLUTE]),
        ("https://fasit.example?a=b", [QUERY]),
        ("https://fasit.example/?", [QUERY]),
        ("https://fasit.example/#", [QUERY]),
        ("https://user@fasit.example", [USER]),
        ("https://user:secret@fasit.example", [USER]),
        ("https://@fasit.example", [USER]),
        ("https://", [HOST]),
        ("https:///star", [HOST]),
        ("https://:443", [HOST]),
        ("https://fas it.example", [HOST]),
        ("https://-fasit.example", [HOST]),
        ("https://fasit..example", [HOST]),
        ("https://fåsit.example", [HOST]),
        ("https://" + "a" * 64, [HOST]),
        ("https://256.1.1.1", [HOST]),
        ("https://1.2.3", [HOST]),
        ("https://[::g]", [HOST]),
        *(
            (f"https://{host}", [HOST])
            for host in (
                "2852039166",
                "0xa9fea9fe",
                "0XA9FEA9FE",
                "0251.0376.0251.0376",
                "0xa9.0xfe.0xa9.0xfe",
                "0xa9.254.169.254",
                "169.254.43518",
                "169.0xfea9fe",
                "0x",
                "169.254.169.254.",
                "example.1",
                "example.0x1",
            )
        ),
        ("https://[fe80::1%eth0]", [HOST]),
        ("https://fasit.example\\@evil.example", [USER]),
        ("https://fasit.example:", [PORT]),
        ("https://fasit.example:0", [PORT]),
        ("https://fasit.example:65536", [PORT]),
        ("https://fasit.example:000443", [PORT]),
        ("https://fasit.example//", [PATH]),
        ("https://fasit.example/a//b", [PATH]),
        ("https://fasit.example/./b", [PATH]),
        ("https://fasit.example/a/..", [PATH]),
        ("https://fasit.example/a/%2e%2E/", [PATH]),
        ("https://fasit.example/a b", [PATH]),
        ("https://fasit.example/a\\b", [PATH]),
        ("https://fasit.example/æ", [PATH]),
        ("https://fasit.example/%zz", [PATH]),
        ("https://u:p@fasit.example:x//?q", [QUERY, USER, PORT, PATH]),
    ],
)
def test_base_urls_with_several_faults_report_all_of_them(url: str, faults: list[str]) -> None:
    found = find_base_url_faults(url, is_private=False)
    assert len(found) == len(faults), found
    for text, part in zip(found, faults, strict=True):
        assert part in text
        assert "secret" not in text


def test_http_needs_private_addresses() -> None:
    (fault,) = find_base_url_faults("http://fasit.example", is_private=False)
    assert "allowPrivateAddresses" in fault
    assert find_base_url_faults("http://fasit.example", is_private=True) == []
    assert find_base_url_faults("https://fasit.example", is_private=True) == []


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "168.63.129.16",
        "0.0.0.0",
        "255.255.255.255",
        "192.0.2.1",
        "192.31.196.1",
        "[::]",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[::169.254.169.254]",
        "[fd00:ec2::254]",
        "[2620:4f:8000::1]",
    ],
)
@pytest.mark.parametrize("is_private", [True, False])
def test_addresses_that_are_never_called_are_refused(host: str, is_private: bool) -> None:
    (fault,) = find_base_url_faults(f"https://{host}:8443/star", is_private=is_private)
    assert "is never called" in fault


@pytest.mark.parametrize("host", ["10.1.2.3", "127.0.0.1", "[::1]", "[fd12::1]", "[::ffff:192.168.0.1]"])
def test_private_addresses_need_a_flag(host: str) -> None:
    (fault,) = find_base_url_faults(f"https://{host}", is_private=False)
    assert "allowPrivateAddresses" in fault
    assert find_base_url_faults(f"https://{host}", is_private=True) == []


@pytest.mark.parametrize("url", ["https://a.example/token", "https://a.example", "https://a.example/t/?p=B2C_1&a=%20"])
def test_token_url_may_have_a_query(url: str) -> None:
    assert find_token_url_faults(url, is_private=False) == []
    assert normalise_token_url(url.replace("https://a", "HTTPS://A")) == url


@pytest.mark.parametrize("url", ["https://a.example/token?a#b", "https://a.example/token?a b", "https://a.example?å"])
def test_token_url_must_have_a_valid_query(url: str) -> None:
    assert find_token_url_faults(url, is_private=False) == [
        "must have a percent-encoded query, or none, and at most 1024 characters"
    ]


def test_token_url_follows_the_rules_of_base_urls() -> None:
    assert find_token_url_faults("http://169.254.169.254/a?b", is_private=True) == [
        "must not have the address 169.254.169.254, which is never called"
    ]
    assert len(find_token_url_faults("/token?a", is_private=False)) == 1
