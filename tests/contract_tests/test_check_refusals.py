"""Invalid invocations of `budkavle contract-check`: a line that names the missing option, exit code 2, no changes."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from budkavle.commands.cli import main
from conftest import MESSAGES_KEY, PUBLISH_KEY, create_database, running_service
from contract_tests.check import BEFORE
from mock_open_e import MockOpenE
from tests.certificates import Authority
from tests.contract_tests.checking import Server, encode_pem, running_target
from tests.contract_tests.recording import RESPONSE, running_recorder
from tests.databases import run_with_database
from tests.handlers.callers import create_certificate
from tests.mock_servers import running_mock
from tests.persistence.rows import count_rows
from tests.processes import run_program

KEYS = ("--api-key", MESSAGES_KEY, "--publish-key", PUBLISH_KEY)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """These tests change nothing, so they share one server."""
    folder = tmp_path_factory.mktemp("server")
    request.param = "sqlite"
    with (
        running_mock(MockOpenE()) as open_e,
        running_target(create_database(request, folder), open_e, folder) as server,
    ):
        yield server


@dataclass
class Asked:
    """A run of the command in this process; its report would be in a separate folder."""

    folder: Path

    def __call__(self, *options: str, **environment: str) -> Result:
        arguments = ["contract-check", "--report", str(self.folder / "report"), *options]
        return CliRunner().invoke(main, arguments, env={"BUDKAVLE_CHECK_API_KEY": "", **environment})


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def count_stored_rows(server: Server) -> dict[str, int]:
    """Return the number of stored rows, without the audit of refused callers."""
    found = run_with_database(server.database_url, count_rows)
    return {name: number for name, number in found.items() if name not in {"audit_entries", "chains"}}


def assert_refused(result: Result, words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert words in lines[-1], result.output
    assert MESSAGES_KEY not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "http://example.test",
        "http://localhost.evil.test",
        "http://127.0.0.1.nip.io",
        "http://127.0.0.1.",
        "http://localhost.",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::2]",
        "http://[fe80::1]",
        "http://128.0.0.1",
        "https://EXAMPLE.test/",
        "http://example.test:80/127.0.0.1",
    ],
)
def test_remote_host_must_be_allowed(url: str, ask: Asked) -> None:
    assert_refused(ask(url, *KEYS), "is not this machine")
    assert_refused(ask(url, *KEYS, "--allow-host", "other.test"), "--allow-host")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://127.0.0.1@example.test",
        "http://example.test@127.0.0.1",
        "http://:secret@127.0.0.1",
        "http://@127.0.0.1",
        "http://example.test\\@127.0.0.1",
        "http://127.0.0.1\\.example.test",
        "http://127.0.0.1?next=1",
        "http://127.0.0.1#part",
        "http://127.0.0.1 .example.test",
        "http://127.0.\t0.1",
        "http://\uff11\uff12\uff17.0.0.1",
        "http://\u24dbocalhost",
    ],
)
def test_ambiguous_address_is_refused(url: str, ask: Asked) -> None:
    assert_refused(ask(url, *KEYS, "--allow-host", "example.test"), "must be like http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/token",
        "http://127.0.0.1.nip.io/token",
        "ftp://127.0.0.1/token",
        "https://user:secret@issuer.test/token",
        "http://127.0.0.1\\@issuer.test/token",
        "https:///token",
        "https://issuer.test/token#part",
        "https://[::1/token",
        "issuer.test",
    ],
)
def test_secret_is_not_sent_to_an_unsafe_address(url: str, ask: Asked) -> None:
    credentials = ("--token-url", url, "--client-id", "client")
    result = ask("http://127.0.0.1:1", *credentials, BUDKAVLE_CHECK_CLIENT_SECRET="s3cret")
    assert_refused(result, "must begin with https://, except on this machine")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LocalHost", "[::1]", "example.test"])
def test_local_and_named_hosts_are_called(host: str, ask: Asked) -> None:
    """No server listens there, but the check tries to connect."""
    url = f"http://{host}:1"
    allowed = "EXAMPLE.test" if host == "example.test" else "other.test"
    assert_refused(ask(url, *KEYS, "--allow-host", allowed, "--spec", "web-messages"), f"{url} cannot be reached")


@pytest.fixture
def files(server: Server, tmp_path: Path) -> dict[str, str]:
    authority = Authority(tmp_path)
    (tmp_path / "none.pem").write_text("no certificate")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes.pem").write_bytes(b"\xff\xfe\0")
    (tmp_path / "stranger.pem").write_text(encode_pem(create_certificate().header))
    return {
        "server": server.url,
        "client": str(server.certificate),
        "none": str(tmp_path / "none.pem"),
        "empty": str(tmp_path / "empty"),
        "bytes": str(tmp_path / "bytes.pem"),
        "stranger": str(tmp_path / "stranger.pem"),
        "other": str(authority.issue().file),
        "missing": str(tmp_path / "missing.pem"),
    }


REFUSED = {
    "no key": ("{server}", "web messages need --api-key"),
    "wrong key": ("{server} --api-key wrong", "the API key may not read web messages: 401"),
    "no certificate": ("{server} --spec subscriptions", "subscriptions need --client-cert"),
    "wrong certificate": ("{server} --spec subscriptions --client-cert {stranger}", "may not touch system"),
    "unknown system": (
        "{server} --spec subscriptions --client-cert {client} --system 650e8400-e29b-41d4-a716-446655440000",
        "may not touch system 650e8400",
    ),
    "no certificate in the file": ("{server} --client-cert {none}", "it contains no PEM certificate"),
    "bytes in the file": ("{server} --client-cert {bytes}", "--client-cert"),
    "no file": ("{server} --client-cert {missing}", "does not exist"),
    "key without a certificate": ("{server} --client-key {client}", "the key of --client-cert, which is missing"),
    "certificate without its key": (
        "https://127.0.0.1:1 --client-cert {client}",
        "cannot be used as a client",
    ),
    "key of another": ("https://127.0.0.1:1 --client-cert {client} --client-key {other}", "cannot be used as a client"),
    "no authority": ("{server} --ca {none}", "contains no certificate in PEM format"),
    "report that is a file": ("{server} --report {client}", "is a file"),
    "a file above the report": (
        "{server} --api-key KEY --spec web-messages --report {client}/report",
        "cannot write a report to",
    ),
    "token and client": ("{server} --token x --token-url https://x.test --client-id x", "exclude each other"),
    "client without an endpoint": ("{server} --client-id x", "need --token-url"),
    "parameter without an endpoint": ("{server} --token-parameter a=b", "need --token-url"),
    "endpoint without a client": ("{server} --token-url https://x.test", "--token-url needs --client-id"),
    "endpoint without a secret": (
        "{server} --token-url https://x.test --client-id x",
        "--token-url needs --client-secret-file or BUDKAVLE_CHECK_CLIENT_SECRET",
    ),
    "empty secret": (
        "{server} --token-url https://x.test --client-id x --client-secret-file {empty}",
        "which must not be empty",
    ),
    "bytes in the secret": (
        "{server} --token-url https://x.test --client-id x --client-secret-file {bytes}",
        "cannot be read",
    ),
    "parameter without a value": (
        "{server} --token-url https://x.test --client-id x --client-secret-file {none} --token-parameter scope",
        "must be NAME=VALUE",
    ),
    "no endpoint there": (
        "{server} --token-url http://127.0.0.1:1/token --client-id x --client-secret-file {none}",
        "the token endpoint http://127.0.0.1:1/token cannot be reached",
    ),
    "token that no header can contain": ("{server} --token a,b", "characters that a header cannot contain"),
    "no token in the file": ("{server} --token @{none}", "characters that a header cannot contain"),
    "no file of the token": ("{server} --token @{missing}", "the file of the token cannot be read"),
    "token without access": ("{server} --token opaque", "the token may not read web messages: 401"),
    "nobody there": ("http://127.0.0.1:1 --api-key KEY", "cannot be reached"),
    "no TLS there": ("https://{host} --api-key KEY", "cannot be reached"),
    "case of no number": ("{server} --case many", "--case"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_missing_options_are_named(options: str, words: str, ask: Asked, files: dict[str, str], server: Server) -> None:
    before = count_stored_rows(server)
    values = {**files, "host": server.url.removeprefix("http://")}
    arguments = [part.format(**values).replace("KEY", MESSAGES_KEY) for part in options.split()]

    assert_refused(ask(*arguments), words)

    assert count_stored_rows(server) == before
    assert not (ask.folder / "report").exists()


ANSWERS = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n", "cannot be reached"),
    "nothing": (b"", "cannot be reached"),
    "not found": (RESPONSE.replace(b"400 Bad Request", b"404 Not Found"), "404 Seen"),
}


@pytest.mark.parametrize(("response", "words"), ANSWERS.values(), ids=ANSWERS.keys())
def test_server_of_another_kind_is_reported(response: bytes, words: str, ask: Asked, files: dict[str, str]) -> None:
    with running_recorder() as other:
        other.has_head = True
        options = ("--spec", "subscriptions", "--client-cert", files["client"])
        assert_refused(other.take(0, lambda: ask(other.url, *options), response), words)


def test_redirect_is_not_followed(ask: Asked, server: Server) -> None:
    response = f"HTTP/1.1 302 Found\r\nLocation: {server.url}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with running_recorder() as other:
        other.has_head = True
        result = other.take(0, lambda: ask(other.url, *KEYS), response.encode())
    assert_refused(result, f"it redirects to {server.url}/")


def test_untrusted_server_certificate_is_reported(ask: Asked, tmp_path: Path, migrated_sqlite: bytes) -> None:
    file = Authority(tmp_path, "server").issue("127.0.0.1").file
    url = f"sqlite:///{tmp_path / 'test.db'}"
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    with running_service(database_url=url, tls_cert=file, tls_key=file) as service:
        assert_refused(ask(service.url, *KEYS), "certificate verify failed")


def test_proxies_of_the_environment_are_not_used(ask: Asked, server: Server) -> None:
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:1")
    assert_refused(ask(server.url, "--api-key", "wrong", **proxy), "the API key may not read web messages: 401")


def test_missing_packages_are_named() -> None:
    code = (
        "import sys; sys.modules['schemathesis'] = None; from budkavle.commands.cli import main; "
        "main(['contract-check', 'http://127.0.0.1:1'])"
    )
    result = run_program(sys.executable, "-c", code)
    assert result.returncode == 2
    assert result.stderr == "Error: this command needs more packages: pip install 'budkavle[contract]'\n"


def test_subscriptions_of_an_interrupted_check_are_not_lost(ask: Asked, server: Server) -> None:
    """After kill -9 the system has the check's own subscriptions, and only the file has the previous ones."""
    backup = ask.folder / "report" / BEFORE
    backup.parent.mkdir()
    backup.write_text("{}")
    before = count_stored_rows(server)
    assert_refused(
        ask(server.url, *KEYS, "--client-cert", str(server.certificate)), "an earlier check did not put back"
    )
    assert backup.read_text() == "{}"
    assert count_stored_rows(server) == before
