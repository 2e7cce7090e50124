"""Access to the subscriptions of a system: by own TLS and behind a real nginx, with certificates of the catalogue."""

import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.budkavle.conftest import Invoke
from tests.budkavle.services import RunningProgram, running_program
from tests.certificates import DAY, TODAY, Authority, Issued
from tests.nginx import nginx_before

OWN = "550e8400-e29b-41d4-a716-446655440000"
FOREIGN_SYSTEM = "650e8400-e29b-41d4-a716-446655440000"
UNKNOWN_SYSTEM = "750e8400-e29b-41d4-a716-446655440000"


def render_system(identifier: str, name: str, *certificates: Issued) -> str:
    known = ", ".join(f'"sha256:{one.fingerprint}"' for one in certificates)
    return (
        f"  - {{systemIdentifier: {identifier}, name: {name}, baseUrl: 'https://{name}.example/star',"
        f" certificates: [{known}]}}\n"
    )


def apply(invoke: Invoke, database_url: str, folder: Path, *systems: str) -> None:
    file = folder / "catalogue.yaml"
    file.write_text(f"systems:\n{''.join(systems)}messageTypes: []\nallowedSubscriptions: []\n")
    assert invoke(database_url, "apply", str(file)).exit_code == 0


def get(client: httpx.Client, identifier: str = OWN, **headers: str) -> httpx.Response:
    return client.get("/v1/abonnement", params={"systemIdentifier": identifier}, headers=headers)


def list_calls(invoke: Invoke, database_url: str) -> list[tuple[str, str, str]]:
    """Return chain, caller and outcome of each audited call."""
    result = invoke(database_url, "audit", "list")
    assert result.exit_code == 0
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    return [
        (entry["chain"], entry["caller"], entry["outcome"])
        for entry in entries
        if entry["operation"] == "hentAbonnementer"
    ]


@contextmanager
def running_behind(
    way: str, database_url: str, tls: dict[str, Path], folder: Path
) -> Iterator[tuple[RunningProgram, str]]:
    """Yield the running service, and the address for its callers."""
    if way == "own TLS":
        with running_program(database_url, **tls) as service:
            yield service, service.url
    else:
        with (
            running_program(database_url, trusted_proxies="127.0.0.1") as service,
            nginx_before(service.url, tls, folder, javascript=way == "RFC 9440") as url,
        ):
            yield service, url


@pytest.mark.parametrize("way", ["own TLS", "PEM", "RFC 9440"])
def test_certificate_gives_access_only_to_its_own_system(
    way: str,
    invoke: Invoke,
    sqlite_url: str,
    tls: dict[str, Path],
    authority: Authority,
    caller: Issued,
    tmp_path: Path,
) -> None:
    another, unknown = authority.issue(), authority.issue()
    apply(
        invoke,
        sqlite_url,
        tmp_path,
        render_system(OWN, "fasit", caller),
        render_system(FOREIGN_SYSTEM, "modulus", another),
    )
    with running_behind(way, sqlite_url, tls, tmp_path) as (service, url):
        with authority.client(url, caller) as client:
            response = get(client)
            assert (response.status_code, response.json()) == (200, {"systemIdentifier": OWN, "abonnementer": []})
            refused = [get(client, identifier) for identifier in (FOREIGN_SYSTEM, UNKNOWN_SYSTEM)]
            assert [one.status_code for one in refused] == [403, 403]
            assert refused[0].content == refused[1].content
            # A caller with a forged header is still authenticated by its connection.
            assert get(client, **{"Client-Cert": another.header}).status_code == 200
            assert get(client, FOREIGN_SYSTEM, **{"Client-Cert": another.header}).status_code == 403
        for shown in (None, unknown):
            for headers in ({}, {"Client-Cert": caller.header}, {"Client-Cert": caller.escaped}):
                with authority.client(url, shown) as client:
                    response = get(client, **headers)
                    assert response.status_code == 401
                    assert [error["errorCode"] for error in response.json()["errors"]] == [1101]
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
    own, theirs = f"sha256:{caller.fingerprint}", f"sha256:{unknown.fingerprint}"
    listed = list_calls(invoke, sqlite_url)
    assert [entry[1:] for entry in listed] == [
        (own, "answered"),
        (own, "refused"),
        (own, "answered"),
        ("ip:127.0.0.1", "refused"),
        (theirs, "refused"),
        # Each further refusal has one entry.
        (own, "refused"),
        ("ip:127.0.0.1", "refused"),
        (theirs, "refused"),
    ]
    assert [entry[0] for entry in listed if entry[2] == "answered"] == [OWN, OWN]


@pytest.mark.parametrize("way", ["own TLS", "PEM"])
def test_revoked_certificate_is_refused_from_the_next_call_on(
    way: str,
    invoke: Invoke,
    sqlite_url: str,
    tls: dict[str, Path],
    authority: Authority,
    caller: Issued,
    tmp_path: Path,
) -> None:
    apply(invoke, sqlite_url, tmp_path, render_system(OWN, "fasit", caller))
    with running_behind(way, sqlite_url, tls, tmp_path) as (_, url), authority.client(url, caller) as client:
        assert get(client).status_code == 200
        apply(invoke, sqlite_url, tmp_path, render_system(OWN, "fasit", authority.issue()))
        assert get(client).status_code == 401


def test_certificate_outside_its_dates_is_refused_in_every_form(
    invoke: Invoke, sqlite_url: str, tls: dict[str, Path], authority: Authority, tmp_path: Path
) -> None:
    expired = authority.issue(begins=TODAY - 2 * DAY, ends=TODAY - DAY)
    early = authority.issue(begins=TODAY + DAY, ends=TODAY + 2 * DAY)
    apply(invoke, sqlite_url, tmp_path, render_system(OWN, "fasit", expired, early))
    with running_program(sqlite_url, trusted_proxies="127.0.0.1") as service:
        for value in (expired.header, early.header, expired.escaped):
            assert get(service.client, **{"Client-Cert": value}).status_code == 401
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
    # The first refusal, and the count of the two others.
    assert [entry[2] for entry in list_calls(invoke, sqlite_url)] == ["refused"] * 2
    with running_program(sqlite_url, **tls) as service:
        for shown in (expired, early):
            with authority.client(service.url, shown) as client, pytest.raises(httpx.TransportError):
                get(client)
    assert len(list_calls(invoke, sqlite_url)) == 2


def test_certificate_of_another_ca_fails_in_the_handshake(
    invoke: Invoke, sqlite_url: str, tls: dict[str, Path], authority: Authority, tmp_path: Path
) -> None:
    """This includes a certificate that is in the catalogue."""
    stranger = Authority(tmp_path, "stranger").issue()
    apply(invoke, sqlite_url, tmp_path, render_system(OWN, "fasit", stranger))
    with running_program(sqlite_url, **tls) as service:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.create_context(stranger)
            context.minimum_version = context.maximum_version = version
            with (
                httpx.Client(base_url=service.url, verify=context, trust_env=False) as client,
                pytest.raises(httpx.TransportError),
            ):
                get(client)
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        assert service.process.err == []
    assert list_calls(invoke, sqlite_url) == []


def test_header_is_accepted_only_from_listed_proxies(
    invoke: Invoke, sqlite_url: str, authority: Authority, caller: Issued, tmp_path: Path
) -> None:
    apply(invoke, sqlite_url, tmp_path, render_system(OWN, "fasit", caller))
    for proxies, status in (("", 401), ("192.0.2.0/24,::1", 401), ("127.0.0.1", 200), ("::ffff:127.0.0.0/104", 200)):
        with running_program(sqlite_url, trusted_proxies=proxies) as service:
            for value in (caller.header, caller.escaped):
                assert get(service.client, **{"Client-Cert": value}).status_code == status
            with httpx.Client(base_url=service.url, trust_env=False) as client:
                headers = [("Client-Cert", caller.header)] * 2
                twice = client.get("/v1/abonnement", params={"systemIdentifier": OWN}, headers=headers)
                assert twice.status_code == 401
