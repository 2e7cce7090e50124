"""The service behind a real nginx that terminates TLS, configured as docs/how-to/proxies.md says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.budkavle.services import KEY, put_key, running_program
from tests.certificates import DAY, TODAY, Authority, Issued
from tests.factories import build_message_body
from tests.identity import identity_service
from tests.nginx import nginx_before


@pytest.fixture(scope="module", params=["PEM", "RFC 9440"])
def proxy(
    request: pytest.FixtureRequest, tls: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nginx")
    with (
        identity_service(trusted_proxies="127.0.0.1") as service,
        nginx_before(service, tls, folder, javascript=request.param == "RFC 9440") as url,
    ):
        yield url


def test_callers_behind_nginx_are_authenticated_by_certificate(
    proxy: str, authority: Authority, caller: Issued
) -> None:
    another = authority.issue()
    with authority.client(proxy, caller) as first, authority.client(proxy, another) as second:
        for _ in range(3):
            assert first.get("/").json() == {"fingerprint": caller.fingerprint}
            assert second.get("/").json() == {"fingerprint": another.fingerprint}
    with authority.client(proxy) as client:
        assert client.get("/").json() == {"fingerprint": None}


def test_forged_headers_are_removed_by_nginx(proxy: str, authority: Authority, caller: Issued) -> None:
    victim = authority.issue()
    for value in (victim.header, victim.escaped):
        headers = [("Client-Cert", value), ("client-cert", value), ("Client_Cert", value)]
        with authority.client(proxy, caller) as client:
            assert client.get("/", headers=headers).json() == {"fingerprint": caller.fingerprint}
        with authority.client(proxy) as client:
            assert client.get("/", headers=headers).json() == {"fingerprint": None}


def test_nginx_rejects_invalid_certificates(proxy: str, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue()
    expired = authority.issue(begins=TODAY - 2 * DAY, ends=TODAY - DAY)
    for shown in (stranger, expired):
        with authority.client(proxy, shown) as client:
            assert client.get("/").status_code == 400


def test_unlisted_nginx_cannot_forward_certificates(
    tls: dict[str, Path], authority: Authority, caller: Issued, tmp_path: Path
) -> None:
    with (
        identity_service(trusted_proxies="192.0.2.7,::1") as service,
        nginx_before(service, tls, tmp_path) as url,
        authority.client(url, caller) as client,
    ):
        assert client.get("/").json() == {"fingerprint": None}


def test_service_behind_nginx_accepts_large_messages(
    sqlite_url: str, tls: dict[str, Path], authority: Authority, caller: Issued, tmp_path: Path
) -> None:
    put_key(sqlite_url)
    with (
        running_program(sqlite_url, trusted_proxies="127.0.0.1") as service,
        nginx_before(service.url, tls, tmp_path) as url,
        authority.client(url, caller) as client,
    ):
        body = build_message_body(message="x" * 5_000_000)
        response = client.post("/webmessages", json=body, headers={"apikey": KEY})
        assert response.status_code == 201
        stored = client.get(response.headers["location"], headers={"apikey": KEY})
        assert httpx.Response.json(stored)["message"] == body["message"]


class Upstream(BaseHTTPRequestHandler):
    """Answers 204."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()


@contextmanager
def running_upstream(port: int = 0) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", port), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_nginx_uses_a_unit_again_as_soon_as_it_is_back(tmp_path: Path) -> None:
    """Two units restart one after the other, faster than nginx forgets a failure by default (10 seconds)."""
    with running_upstream() as first, running_upstream() as second:
        ports = first, second
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    with nginx_before(addresses[0], None, tmp_path, addresses[1]) as url, httpx.Client(trust_env=False) as client:
        for port in (*ports, *ports):
            with running_upstream(port):
                assert [client.get(url).status_code for _ in range(4)] == [204] * 4
