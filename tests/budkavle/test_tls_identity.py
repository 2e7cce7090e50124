"""The certificate by which a caller is authenticated, on real sockets: own TLS, listed proxies, and other peers."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.certificates import DAY, TODAY, Authority, Issued
from tests.identity import identity_service
from tests.processes import SECONDS

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def over_tls(tls: dict[str, Path]) -> Iterator[str]:
    with identity_service(**tls) as url:
        yield url


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with identity_service() as url:
        yield url


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[str]:
    """Yield settings for plain HTTP with this machine as the trusted proxy."""
    with identity_service(trusted_proxies="127.0.0.1") as url:
        yield url


def identify(client: httpx.Client, *headers: str) -> str | None:
    response = client.get("/", headers=[("Client-Cert", header) for header in headers])
    assert response.status_code == 200
    fingerprint: str | None = response.json()["fingerprint"]
    return fingerprint


def test_caller_is_authenticated_by_the_certificate_of_its_connection(
    over_tls: str, authority: Authority, caller: Issued
) -> None:
    another = authority.issue()
    with (
        authority.client(over_tls, caller) as first,
        authority.client(over_tls, another) as second,
        authority.client(over_tls) as third,
    ):
        for _ in range(3):
            assert identify(first) == caller.fingerprint
            assert identify(second) == another.fingerprint
            assert identify(third) is None


def test_forged_header_is_ignored(over_tls: str, plain: str, authority: Authority, caller: Issued) -> None:
    victim = authority.issue()
    for headers in ((victim.header,), (victim.escaped,), (victim.header, victim.header), ("",)):
        with authority.client(over_tls, caller) as client:
            assert identify(client, *headers) == caller.fingerprint
        with authority.client(over_tls) as client:
            assert identify(client, *headers) is None
        with httpx.Client(base_url=plain, trust_env=False) as client:
            assert identify(client, *headers) is None


def test_other_spellings_of_the_header_are_ignored(
    plain: str, over_tls: str, authority: Authority, caller: Issued
) -> None:
    for name in ("client-cert", "CLIENT-CERT", "Client_Cert", "Client-Cert-Chain"):
        for client in (
            httpx.Client(base_url=plain, trust_env=False),
            httpx.Client(base_url=over_tls, verify=authority.create_context()),
        ):
            with client:
                assert client.get("/", headers={name: caller.header}).json() == {"fingerprint": None}


def test_trailers_are_not_headers(behind_proxy: str, caller: Issued) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(behind_proxy).port or 0), SECONDS) as connection:
        connection.sendall(head + b"0\r\nClient-Cert: %s\r\n\r\n" % caller.header.encode())
        assert connection.makefile("rb").read().endswith(b'{"fingerprint":null}')


def test_requests_of_one_connection_have_one_caller(over_tls: str, authority: Authority, caller: Issued) -> None:
    port = httpx.URL(over_tls).port or 0
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as raw,
        authority.create_context(caller).wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(ASK * 3 + ASK.replace(b"Host", b"Client-Cert: :AAAA:\r\nConnection: close\r\nHost"))
        responses = connection.makefile("rb").read()
    assert responses.count(caller.fingerprint.encode()) == 4


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumed_session_has_the_same_caller(
    over_tls: str, authority: Authority, caller: Issued, version: ssl.TLSVersion
) -> None:
    port = httpx.URL(over_tls).port or 0
    context = authority.create_context(caller)
    context.minimum_version = context.maximum_version = version
    session = None
    for is_resumed in (False, True, True):
        with (
            socket.create_connection(("127.0.0.1", port), SECONDS) as raw,
            context.wrap_socket(raw, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(ASK.replace(b"Host", b"Connection: close\r\nHost"))
            assert caller.fingerprint.encode() in connection.makefile("rb").read()
            # A TLS 1.3 session is a ticket, which the service does not issue to callers that may send a certificate.
            assert connection.session_reused == (is_resumed and version is ssl.TLSVersion.TLSv1_2)
            session = connection.session


def test_listed_proxy_forwards_the_certificate_of_the_caller(
    behind_proxy: str, authority: Authority, caller: Issued
) -> None:
    expired = authority.issue(begins=TODAY - 2 * DAY, ends=TODAY - DAY)
    early = authority.issue(begins=TODAY + DAY, ends=TODAY + 2 * DAY)
    with httpx.Client(base_url=behind_proxy, trust_env=False) as client:
        assert identify(client) is None
        for value in (caller.header, caller.escaped, caller.pem.strip().replace("\n", " ")):
            assert identify(client, value) == caller.fingerprint
        for headers in (
            (expired.header,),
            (early.escaped,),
            (caller.header, caller.header),
            (caller.header, ""),
            (f"{caller.header}, {caller.header}",),
            ("::",),
            ("",),
            ("(null)",),
            (caller.header[:-9],),
        ):
            response = client.get("/", headers=[("Client-Cert", header) for header in headers])
            assert response.status_code == 401, headers


def test_certificate_of_a_proxy_is_not_that_of_its_callers(
    tls: dict[str, Path], authority: Authority, caller: Issued
) -> None:
    proxy = authority.issue()
    with identity_service(trusted_proxies="127.0.0.0/8", **tls) as url, authority.client(url, proxy) as client:
        assert identify(client, caller.header) == caller.fingerprint
        assert identify(client) is None
