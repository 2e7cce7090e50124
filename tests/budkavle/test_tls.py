"""TLS on the port of the running service: which callers are accepted, and no log lines about rejected handshakes."""

import json
import signal
import socket
import ssl
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from budkavle.settings import Settings
from budkavle.tls import build_server_context
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import KEY, RunningProgram, put_key, running_program
from tests.certificates import DAY, TODAY, Authority, Issued
from tests.factories import build_case_body, build_message_body
from tests.held_open_e import HeldOpenE
from tests.openapi.server.test_serving import wait_until_refused
from tests.processes import SECONDS, budkavle, running

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK"


@pytest.fixture
def service(sqlite_url: str, tls: dict[str, Path]) -> Iterator[RunningProgram]:
    put_key(sqlite_url)
    with running_program(sqlite_url, **tls) as service:
        yield service


def stop(service: RunningProgram) -> list[dict[str, object]]:
    """Shut down, and return the log entries."""
    service.process.send(signal.SIGTERM)
    assert service.process.wait() == 0
    return [json.loads(line) for line in service.process.err]


def connect(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", port), SECONDS)
    return context.wrap_socket(connection, server_hostname="localhost", session=session)


def read_response_start(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bytes:
    """Return the beginning of a response, empty if the handshake fails; with TLS 1.3 a client notices that late."""
    try:
        with connect(port, context, session) as connection:
            connection.sendall(LIVE)
            return connection.recv(15)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_client_certificates_are_optional(service: RunningProgram, authority: Authority, caller: Issued) -> None:
    assert service.url == f"https://127.0.0.1:{service.port}"
    for shown in (None, caller):
        with authority.client(service.url, shown) as client:
            assert client.get("/health/live").status_code == 200
            created = client.post("/webmessages", json=build_message_body(), headers={"apikey": KEY})
            assert created.status_code == 201
            assert client.get(created.headers["location"], headers={"apikey": KEY}).status_code == 200
    assert [entry["event"] for entry in stop(service)] == ["request"] * 6


def test_serve_accepts_the_files_as_options(
    sqlite_url: str, tls: dict[str, Path], authority: Authority, tmp_path: Path
) -> None:
    options = [text for name, file in tls.items() for text in (f"--{name.replace('_', '-')}", str(file))]
    with running(*budkavle("serve", "--port", "0", *options), database_url=sqlite_url) as process:
        url = process.wait_for("Budkavle listens on ")
        with authority.client(url) as client:
            assert client.get("/health/live").status_code == 200
        stranger = Authority(tmp_path, "stranger").issue()
        assert read_response_start(int(url.rpartition(":")[2]), authority.create_context(stranger)) == b""


def test_invalid_certificates_end_the_handshake(
    service: RunningProgram, authority: Authority, caller: Issued, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue()
    expired = authority.issue(begins=TODAY - 2 * DAY, ends=TODAY - DAY)
    early = authority.issue(begins=TODAY + DAY, ends=TODAY + 2 * DAY)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for shown, response in ((stranger, b""), (expired, b""), (early, b""), (caller, OK)):
            context = authority.create_context(shown)
            context.minimum_version = context.maximum_version = version
            assert read_response_start(service.port, context) == response
    assert [entry["event"] for entry in stop(service)] == ["request"] * 2


def test_tls_versions_before_1_2_are_refused(
    service: RunningProgram, authority: Authority, tls: dict[str, Path]
) -> None:
    old = authority.create_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert read_response_start(service.port, old) == b""
    context = build_server_context(Settings(**tls))
    assert context is not None
    assert (context.minimum_version, context.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_OPTIONAL)


def test_client_ca_is_optional(tls: dict[str, Path]) -> None:
    context = build_server_context(Settings(**tls | {"client_ca": None}))
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE
    assert build_server_context(Settings()) is None


def test_data_that_is_not_tls_closes_the_connection_without_a_log_line(
    service: RunningProgram, authority: Authority
) -> None:
    for data in (LIVE, b"\x16\x03\x01\x00\x05garbage", b"\0" * 3000, b"\x16", b""):
        with socket.create_connection(("127.0.0.1", service.port), SECONDS) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in connection.makefile("rb").read()
    with authority.client(service.url) as client:
        assert client.get("/health/live").status_code == 200
    assert [entry["event"] for entry in stop(service)] == ["request"]


def test_unfinished_handshakes_delay_neither_others_nor_a_shutdown(
    service: RunningProgram, authority: Authority
) -> None:
    waiting = [socket.create_connection(("127.0.0.1", service.port), SECONDS) for _ in range(20)]
    try:
        waiting[0].sendall(b"\x16\x03\x01")
        with authority.client(service.url) as client:
            assert client.get("/health/live").status_code == 200
        assert [entry["event"] for entry in stop(service)] == ["request"]
    finally:
        for connection in waiting:
            connection.close()


def test_shutdown_closes_connections_of_silent_callers(service: RunningProgram, authority: Authority) -> None:
    """These clients do not respond to the TLS close alert either."""
    with connect(service.port, authority.create_context()) as connection:
        connection.sendall(LIVE)
        assert connection.recv(15) == OK
        service.process.send(signal.SIGTERM)
        assert service.process.wait(20) == 0


def test_shutdown_lets_running_requests_complete(
    sqlite_url: str, held: HeldOpenE, tls: dict[str, Path], authority: Authority, caller: Issued
) -> None:
    put_key(sqlite_url)
    with (
        running_program(sqlite_url, open_e_external_url=held.url, **tls) as service,
        authority.client(service.url, caller) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        response = thread.submit(client.post, "/webmessages", json=build_case_body(), headers={"apikey": KEY})
        held.wait_for_calls(1)
        service.process.send(signal.SIGTERM)
        wait_until_refused(service.port)
        held.release_calls()
        assert response.result(SECONDS).status_code == 201
        assert service.process.wait() == 0


def test_removed_header_is_logged_without_the_certificate(
    service: RunningProgram, authority: Authority, caller: Issued
) -> None:
    with authority.client(service.url, caller) as client:
        headers = [("Client-Cert", caller.header), ("client-cert", caller.escaped), ("x-request-id", "spoof-1")]
        assert client.get("/health/live", headers=headers).status_code == 200
        assert client.get("/health/live").status_code == 200
    removed, *requests = stop(service)
    assert [entry["event"] for entry in requests] == ["request", "request"]
    fields = {name: removed[name] for name in ("event", "level", "peer", "request_id")}
    assert fields == {
        "event": "client_cert_header_removed",
        "level": "warning",
        "peer": "127.0.0.1",
        "request_id": "spoof-1",
    }
    assert set(removed) - set(fields) == {"timestamp"}


def test_invalid_files_stop_the_start_with_one_line(
    sqlite_url: str, invoke: Invoke, tls: dict[str, Path], authority: Authority, caller: Issued, tmp_path: Path
) -> None:
    good = {name: str(file) for name, file in tls.items()}
    garbage, empty, locked = tmp_path / "garbage.pem", tmp_path / "empty.pem", tmp_path / "locked.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nå\n-----END CERTIFICATE-----\n")
    empty.write_bytes(b"")
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    only_certificate = tmp_path / "certificate.pem"
    only_certificate.write_text(caller.pem)
    both = "BUDKAVLE_TLS_CERT and BUDKAVLE_TLS_KEY"
    unread = "no PEM that can be read, or one with a password"
    for settings, reason in (
        ({"tls_cert": good["tls_cert"]}, f"{both} belong together"),
        ({"tls_key": good["tls_key"]}, f"{both} belong together"),
        (
            {"client_ca": good["client_ca"]},
            "BUDKAVLE_TLS_CERT, BUDKAVLE_TLS_KEY and BUDKAVLE_CLIENT_CA belong together",
        ),
        (good | {"tls_key": str(caller.file)}, f"{both}: the key is not the certificate's"),
        (good | {"tls_key": str(only_certificate)}, f"{both}: {unread}"),
        (good | {"tls_key": str(locked)}, f"{both}: {unread}"),
        (good | {"tls_cert": str(garbage)}, f"{both}: {unread}"),
        (good | {"tls_cert": str(empty)}, f"{both}: {unread}"),
        (good | {"client_ca": str(empty)}, f"BUDKAVLE_CLIENT_CA: {unread}"),
        (good | {"client_ca": str(garbage)}, f"BUDKAVLE_CLIENT_CA: {unread}"),
        (good | {"client_ca": str(tmp_path / "none")}, "BUDKAVLE_CLIENT_CA: Path does not point to a file"),
        (good | {"tls_cert": str(tmp_path)}, "BUDKAVLE_TLS_CERT: Path does not point to a file"),
    ):
        result = invoke(sqlite_url, "serve", "--port", "0", **settings)
        assert (result.exit_code, result.stdout) == (1, ""), settings
        assert result.stderr == f"Error: unusable settings: {reason}\n"


def test_demo_ignores_tls_settings(sqlite_url: str, tls: dict[str, Path]) -> None:
    with running(
        *budkavle("dev", "--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0"),
        database_url=sqlite_url,
        **tls,
    ) as process:
        url = process.wait_for("curl -sS -i -X POST ").split("/webmessages")[0]
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
