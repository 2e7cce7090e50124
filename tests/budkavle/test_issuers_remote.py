"""Issuers whose keys are at a URL, as the processes of the service fetch them."""

from pathlib import Path

import httpx
import pytest

from tests.budkavle.services import create_plain_client
from tests.certificates import Authority, Issued
from tests.issuers import bear, write_issuers
from tests.oauth2.key_set_server import create_certificate, key_set_server_in_thread, send_keys
from tests.processes import budkavle, running
from tests.tokens import create_key_set, create_token, create_token_key

LIST = "/webmessages/external-references/errandNumber/A-1"
OLD, NEW = create_token_key("ES256", "old"), create_token_key("ES256", "new")
PROCESSES = 2


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return create_certificate(authority)


@pytest.fixture(autouse=True)
def _trusted_authority(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service trust the certificate of the issuer, as operators do."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


def get(url: str, token: str) -> httpx.Response:
    """Send a request with a token on a new connection."""
    with create_plain_client(url, "-") as client:
        del client.headers["apikey"]
        return client.get(LIST, headers=bear(token))


def test_each_process_fetches_keys_and_one_more_time_for_unknown_ones(
    sqlite_url: str, certificate: Issued, tmp_path: Path
) -> None:
    with key_set_server_in_thread(certificate) as server:
        server.respond = send_keys(create_key_set(OLD))
        path = write_issuers(tmp_path, jwks=server.url)
        command = budkavle("serve", "--port", "0", "--processes", str(PROCESSES))
        with running(*command, database_url=sqlite_url, issuers=path, failed_authentications=1_000_000) as program:
            url = program.wait_for("Budkavle listens on ")
            # The kernel selects a process for each connection, until each has met a token with the new key.
            while len(server.requests) < PROCESSES:
                assert get(url, create_token(OLD)).status_code == 200
            server.respond = send_keys(create_key_set(OLD, NEW))
            while len(server.requests) < 2 * PROCESSES:
                assert get(url, create_token(NEW)).status_code == 200
            for number in range(20):
                assert get(url, create_token(NEW, kid=f"key-{number}")).status_code == 401
            assert len(server.requests) == 2 * PROCESSES


def test_service_waits_for_an_issuer_that_is_down(sqlite_url: str, certificate: Issued, tmp_path: Path) -> None:
    with key_set_server_in_thread(certificate) as server:
        location = server.url
    path = write_issuers(tmp_path, jwks=location)
    with running(*budkavle("serve", "--port", "0"), database_url=sqlite_url, issuers=path) as program:
        url = program.wait_for("Budkavle listens on ")
        assert httpx.get(f"{url}/health/ready", trust_env=False, verify=False).status_code == 200
        missing = get(url, create_token(OLD))
        assert missing.status_code == 503
        assert 1 <= int(missing.headers["retry-after"]) <= 60
        assert "www-authenticate" not in missing.headers
        assert get(url, "no.good.token").status_code == 401
        with key_set_server_in_thread(certificate, httpx.URL(location).port or 0) as server:
            server.respond = send_keys(create_key_set(OLD))
            while (found := get(url, create_token(OLD)).status_code) == 503:
                assert program.is_running
            assert found == 200
        # The keys stay in use although the issuer is down again.
        assert get(url, create_token(OLD)).status_code == 200
    (line,) = [line for line in program.err if '"key_set_fetched"' in line]
    assert location in line
