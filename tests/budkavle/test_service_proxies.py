"""The service behind each proxy, a real one with the configuration of docs/how-to/proxies.md."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.attachments import MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS
from domain.subscriptions import MAX_SUBSCRIPTIONS
from tests.budkavle.services import KEY, put_key, running_program
from tests.catalogue_rows import ALLOWED, ORG_TYPE, put_message_types, put_system, read_audit
from tests.certificates import Authority, Issued
from tests.factories import build_message_body
from tests.haproxy import haproxy_before
from tests.nginx import nginx_before

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
PROXIES = {"nginx": nginx_before, "haproxy": haproxy_before}
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Behind:
    """The database of a service, its own URL, and a client of the proxy in front of it."""

    database_url: str
    url: str
    client: httpx.Client


@pytest.fixture(scope="module")
def large_caller(authority: Authority) -> Issued:
    """Return a client certificate of more than 3 kB, larger than most."""
    issued = authority.issue(*(f"client-{number}.example.org" for number in range(120)))
    assert len(issued.der) > 3000
    return issued


@pytest.fixture(scope="module", params=sorted(PROXIES))
def behind(
    request: pytest.FixtureRequest,
    migrated_sqlite: bytes,
    authority: Authority,
    tls: dict[str, Path],
    large_caller: Issued,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Behind]:
    """Yield the service, and an anonymous client of the proxy in front of it."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "test.db").write_bytes(migrated_sqlite)
    database_url = f"sqlite:///{folder / 'test.db'}"
    put_key(database_url)
    put_message_types(database_url)
    put_system(database_url, SYSTEM, large_caller.fingerprint)
    with (
        running_program(database_url, trusted_proxies="127.0.0.1") as service,
        PROXIES[request.param](service.url, tls, folder) as proxy,
        authority.client(proxy) as client,
    ):
        yield Behind(database_url, service.url, client)


def build_entries(number: int) -> list[dict[str, Any]]:
    """Return different entries of a sync whose total size is nearly the limit of a body."""
    return [
        {
            "orgType": ORG_TYPE,
            "orgCode": code,
            "entityType": ALLOWED,
            "webhookUrl": f"/{'x' * 180}/{code}",
            "startDato": "2023-01-01T00:00:00",
            "slutDato": "2999-12-31T23:59:59",
        }
        for code in range(number)
    ]


def sync_of(number: int) -> bytes:
    return json.dumps({"systemIdentifier": SYSTEM, "abonnementer": build_entries(number)}).encode()


def test_largest_sync_passes_with_the_certificate(behind: Behind, authority: Authority, large_caller: Issued) -> None:
    with authority.client(str(behind.client.base_url), large_caller) as client:
        for number in (0, 1, MAX_SUBSCRIPTIONS):
            body = sync_of(number)
            response = client.post("/v1/abonnement/sync", content=body, headers={"content-type": "application/json"})
            assert response.status_code == 200, response.text
        assert 15 * MEBIBYTE < len(body) <= 16 * MEBIBYTE
        current = client.get("/v1/abonnement", params={"systemIdentifier": SYSTEM})
        assert len(current.json()["abonnementer"]) == MAX_SUBSCRIPTIONS


def test_body_received_with_its_head_leaves_room_for_the_certificate(
    behind: Behind, authority: Authority, large_caller: Issued
) -> None:
    """A proxy has already buffered much of the body when it adds the header."""
    for number in (0, 1, 10, 20, 40, 60, 80, 100, 400):
        body = sync_of(number)
        head = f"POST /v1/abonnement/sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with (
            socket.create_connection(("127.0.0.1", behind.client.base_url.port), 60) as connection,
            authority.create_context(large_caller).wrap_socket(connection, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(head.encode() + body)
            assert secured.recv(1000).startswith(b"HTTP/1.1 200 "), number


def test_largest_message_passes(behind: Behind) -> None:
    contents = [bytes([number]) * MAX_ATTACHMENT_BYTES for number in range(MAX_ATTACHMENTS)]
    files = [("attachments", (f"{number}.bin", content)) for number, content in enumerate(contents)]
    message = ("message", (None, json.dumps(build_message_body()), "application/json"))
    key = {"apikey": KEY}
    stored = behind.client.post("/webmessages", files=[message, *files], headers=key)
    assert stored.status_code == 201, stored.text
    location = stored.headers["location"]
    with httpx.Client(base_url=behind.url, headers=key, timeout=60, trust_env=False, verify=False) as direct:
        ids = [attachment["id"] for attachment in direct.get(location).json()["attachments"]]
    assert len(ids) == MAX_ATTACHMENTS
    for number, content in ((0, contents[0]), (9, contents[9])):
        assert behind.client.get(f"{location}/attachments/{ids[number]}", headers=key).content == content


def test_forged_headers_are_removed(behind: Behind, authority: Authority, large_caller: Issued) -> None:
    path = f"/v1/abonnement?systemIdentifier={SYSTEM}"
    forged = [
        ("Client-Cert", large_caller.header),
        ("client-cert", large_caller.escaped),
        ("Client_Cert", large_caller.header),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-For", "203.0.113.10"),
        ("Forwarded", "for=203.0.113.11"),
    ]
    response = behind.client.get(path, headers=forged)
    assert response.status_code == 401
    (refused,) = read_audit(behind.database_url, response.headers["x-requestid"])
    assert (refused.caller, refused.detail["reason"]) == ("ip:127.0.0.1", "no_certificate")
    with authority.client(str(behind.client.base_url), authority.issue()) as stranger:
        response = stranger.get(path, headers=forged)
    assert response.status_code == 401
    (refused,) = read_audit(behind.database_url, response.headers["x-requestid"])
    assert (refused.detail["reason"], refused.detail["address"]) == ("unknown_certificate", "127.0.0.1")
    with authority.client(str(behind.client.base_url), large_caller) as client:
        assert client.get(path, headers=forged).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/health/live"])
def test_operations_are_not_exposed(behind: Behind, path: str) -> None:
    direct = httpx.get(f"{behind.url}{path}", trust_env=False, verify=False)
    assert direct.status_code == 200
    for spelling in (path, path.replace("e", "%65"), path.replace("h", "%68", 1), f"{path}?x=1"):
        response = behind.client.get(spelling)
        assert response.status_code == 404, spelling
        assert "x-request-id" not in response.headers
    for spelling in (f"/{path}", f"/v1/..{path}", f"/.{path}", f"{path}/", f"/webmessages/%2e%2e{path}"):
        response = behind.client.get(spelling)
        assert response.status_code in {400, 401, 404, 405}, spelling
        assert "budkavle_" not in response.text


def test_refusals_of_large_bodies_are_returned_to_the_caller(behind: Behind) -> None:
    body = bytes(30 * MEBIBYTE)
    for headers, status in (
        ({"content-type": "application/json"}, 401),
        ({"content-type": "text/plain", "apikey": KEY}, 415),
    ):
        response = behind.client.post("/webmessages", content=body, headers=headers)
        assert response.status_code == status
