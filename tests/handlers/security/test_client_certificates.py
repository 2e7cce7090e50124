"""Client certificates: trusted headers, and valid certificates."""

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Unauthenticated
from handlers.security.client_certificates import ClientCertificateMiddleware, read_certificate
from openapi.observation.peers import TrustedProxies
from openapi.observation.source_limits import LineLimit
from tests.certificates import TODAY, Authority, Issued

BEGINS = datetime(2026, 3, 1, tzinfo=UTC)
ENDS = datetime(2026, 3, 2, tzinfo=UTC)
WITHIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PROXIES = tuple(map(ip_network, ("192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "fe80::/10")))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(begins=BEGINS, ends=ENDS)


def resolve_headers(
    *values: str | bytes,
    client: tuple[str, int] | None = ("192.0.2.7", 1234),
    shown: bytes | None = None,
    proxies: tuple[Any, ...] = PROXIES,
) -> list[tuple[bytes, bytes]]:
    """Return the headers that the application receives."""
    seen: list[tuple[bytes, bytes]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    certificates = [(b"client-cert", v.encode() if isinstance(v, str) else v) for v in values]
    scope: dict[str, Any] = {
        "type": "http",
        "client": client,
        "headers": [(b"host", b"x"), *certificates, (b"accept", b"*/*")],
    }
    if shown is not None:
        scope["extensions"] = {"tls": {"client_certificate": shown}}
    middleware = ClientCertificateMiddleware(application, TrustedProxies(proxies))
    asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]
    assert [header for header in seen if header[0] != b"client-cert"] == [(b"host", b"x"), (b"accept", b"*/*")]
    return [header for header in seen if header[0] == b"client-cert"]


@pytest.mark.parametrize(
    "address",
    ["192.0.2.7", "10.255.0.1", "2001:db8::1", "::ffff:192.0.2.7", "::ffff:10.1.2.3", "fe80::1%eth0"],
)
def test_header_of_a_listed_proxy_is_kept(address: str) -> None:
    assert resolve_headers(":AAAA:", client=(address, 1)) == [(b"client-cert", b":AAAA:")]


@pytest.mark.parametrize("address", ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::ffff:192.0.2.8", "127.0.0.1", "::1"])
def test_header_of_other_peers_is_removed(address: str) -> None:
    assert resolve_headers(":AAAA:", client=(address, 1)) == []
    assert resolve_headers(":AAAA:", ":AAAA:", client=(address, 1)) == []


def test_no_peer_is_a_proxy_by_default() -> None:
    assert resolve_headers(":AAAA:", proxies=()) == []
    assert resolve_headers(":AAAA:", client=None) == []


def test_certificate_of_a_connection_replaces_a_header(issued: Issued) -> None:
    expected = [(b"client-cert", issued.header.encode())]
    outside = ("198.51.100.1", 1)
    assert resolve_headers(shown=issued.der, client=outside) == expected
    assert resolve_headers(":AAAA:", ":BBBB:", shown=issued.der, client=outside) == expected
    assert resolve_headers(shown=issued.der, client=None) == expected


def test_certificate_of_a_proxy_is_not_that_of_its_callers(issued: Issued) -> None:
    assert resolve_headers(shown=issued.der) == []
    assert resolve_headers(":AAAA:", shown=issued.der) == [(b"client-cert", b":AAAA:")]


def test_several_headers_of_a_proxy_are_no_certificate(issued: Issued) -> None:
    for value in (issued.header, issued.escaped):
        ((_, joined),) = resolve_headers(value, value)
        with pytest.raises(Unauthenticated):
            read_certificate(joined, WITHIN)


def test_other_scopes_are_passed_through() -> None:
    passed: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope)

    asyncio.run(ClientCertificateMiddleware(application, TrustedProxies())({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert passed == [{"type": "lifespan"}]


def test_line_limit_allows_a_number_of_lines_per_second_and_counts_the_others() -> None:
    moments = iter([5.0, 5.1, 5.2, 5.9, 6.0, 6.1, 6.2, 8.0])
    limit = LineLimit(2, lambda: next(moments))
    assert [limit.admit_line() for _ in range(8)] == [0, 0, None, None, 2, 0, None, 1]


def test_read_certificate_returns_the_fingerprint_for_every_proxy(issued: Issued) -> None:
    body = issued.pem.split("-----")[2]
    for value in (
        issued.header,
        issued.escaped,
        issued.escaped.replace("%0A", "%0D%0A"),
        issued.pem.replace("\n", " "),
        issued.pem.strip().replace("\n", " "),
        f"-----BEGIN CERTIFICATE----- {body.replace(chr(10), '')} -----END CERTIFICATE-----",
    ):
        assert read_certificate(value.encode(), WITHIN) == issued.fingerprint


def test_read_certificate_accepts_a_certificate_from_its_first_to_its_last_second(issued: Issued) -> None:
    value = issued.header.encode()
    for moment in (BEGINS, ENDS, WITHIN):
        assert read_certificate(value, moment) == issued.fingerprint
    for moment in (BEGINS - SECOND, ENDS + SECOND, TODAY):
        for form in (value, issued.escaped.encode()):
            with pytest.raises(Unauthenticated, match="outside its validity period"):
                read_certificate(form, moment)


def build_broken_headers(issued: Issued) -> Iterator[bytes]:
    text = base64.b64encode(issued.der)
    yield from (b"", b":", b"::", b": :", b":AAAA:", b":=:", b"text", b"(null)", b"-", b"\xff\xfe", b"%", b"%00")
    yield from (text, b":" + text, text + b":", b": " + text + b":", b":" + text + b": ", b"::" + text + b"::")
    yield from (b":" + text + b":;a=1", b":" + text[:-1] + b":", b":" + text[:40] + b"\n" + text[40:] + b":")
    yield b":" + text.replace(b"/", b"_").replace(b"+", b"-") + b"_:"
    yield b":" + base64.b64encode(issued.der + b"\0") + b":"
    yield b":" + base64.b64encode(issued.der * 2) + b":"
    yield b":" + base64.b64encode(issued.der[:-1]) + b":"
    yield b":" + base64.b64encode(issued.pem.encode()) + b":"
    yield issued.escaped.encode() * 2
    yield b"x" + issued.escaped.encode()
    yield issued.escaped.encode().replace(b"CERTIFICATE", b"PRIVATE%20KEY")


def test_read_certificate_refuses_everything_except_one_certificate(issued: Issued) -> None:
    for value in build_broken_headers(issued):
        with pytest.raises(Unauthenticated, match="cannot be read"):
            read_certificate(value, WITHIN)


def test_read_certificate_raises_no_other_error(issued: Issued) -> None:
    """A certificate with a changed byte is the same one, one with another fingerprint, or invalid."""
    places = st.lists(st.tuples(st.integers(0, len(issued.der) - 1), st.integers(0, 255)), min_size=1, max_size=4)

    @settings(deadline=None)
    @given(places, st.integers(-5, 5))
    def check(changes: list[tuple[int, int]], length: int) -> None:
        changed = bytearray(issued.der)
        for place, byte in changes:
            changed[place] = byte
        der = bytes(changed[:length] if length < 0 else changed + b"\0" * length)
        try:
            known = read_certificate(b":" + base64.b64encode(der) + b":", WITHIN)
        except Unauthenticated:
            return
        assert (known == issued.fingerprint) == (der == issued.der)

    check()


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(":-%BEGINCRTFA= \n", max_size=80).map(str.encode))
def test_read_certificate_refuses_random_bytes(value: bytes) -> None:
    for noise in (value, b":" + base64.b64encode(value) + b":"):
        with pytest.raises(Unauthenticated):
            read_certificate(noise, WITHIN)


def test_read_certificate_refuses_versions_and_accepts_unusual_serial_numbers(issued: Issued) -> None:
    """The library raises errors of its own for these, or warns."""
    version = issued.der.index(b"\xa0\x03\x02\x01\x02") + 4
    changed = issued.der[:version] + b"\x59" + issued.der[version + 1 :]
    with pytest.raises(Unauthenticated):
        read_certificate(b":" + base64.b64encode(changed) + b":", WITHIN)
    serial = version + 3
    negative = issued.der[:serial] + b"\x81" + issued.der[serial + 1 :]
    assert read_certificate(b":" + base64.b64encode(negative) + b":", WITHIN) != issued.fingerprint


def test_certificates_are_distinguished(authority: Authority, tmp_path: Path) -> None:
    issued = [authority.issue(begins=BEGINS, ends=ENDS) for _ in range(3)]
    known = [read_certificate(one.header.encode(), WITHIN) for one in issued]
    assert known == [one.fingerprint for one in issued]
    assert len(set(known)) == 3
