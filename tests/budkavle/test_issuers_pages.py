"""The pages about access tokens: their files are valid, and their commands and code work."""

import base64
import hashlib
import json
import shutil
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from budkavle.clock import now
from budkavle.demo.issuer import CLIENT, SECRET, DemoIssuer
from budkavle.issuers_file import read_issuers
from tests.contract_tests.issuing import running_issuer
from tests.processes import Process, budkavle, run_program, running
from tests.shown_commands import PAGES, read_block, read_block_in, read_blocks
from tests.tokens import create_token_key, write_key_set
from tests.warm_commands import build_shell_command

OPERATORS = "docs/how-to/accept-access-tokens.md"
CALLERS = "docs/how-to/call-with-a-token.md"

FILES = {
    f"{page.name} {number}": block.text
    for page in PAGES
    for number, block in enumerate(read_blocks(page))
    if block.language == "yaml" and "issuers:\n" in block.text
}

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl, which is missing")


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_each_file_of_issuers_is_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "issuers.yaml").write_text(text)
    write_key_set(tmp_path / "gateway-jwks.json", create_token_key("RS256"))
    trusted = read_issuers(tmp_path / "issuers.yaml")
    assert all(issuer.scope_map for issuer in trusted.issuers)


def test_pages_have_files_of_issuers() -> None:
    assert len(FILES) == 6


@contextmanager
def running_as_shown(folder: Path, sqlite_url: str, issuer: DemoIssuer) -> Iterator[tuple[Process, str]]:
    """Start the service with the commands of the page, and yield the process and its URL."""
    issuer.write_files(folder)
    script = read_block(OPERATORS, "export").replace("budkavle serve", "exec budkavle serve --port 0")
    with running(*build_shell_command(script), folder=folder, database_url=sqlite_url) as process:
        yield process, process.wait_for("Budkavle listens on ")


@pytest.mark.parametrize("page", [OPERATORS, CALLERS])
def test_commands_get_a_token_and_use_it(page: str, sqlite_url: str, tmp_path: Path) -> None:
    issuer = DemoIssuer(now)
    with running_as_shown(tmp_path, sqlite_url, issuer) as (process, service), running_issuer(issuer) as endpoint:
        script = read_block(page, "TOKEN=")
        for shown, here in {
            "https://issuer.example/token": endpoint,
            "https://budkavle.example": service,
            "CLIENT:SECRET": f"{CLIENT}:{SECRET}",
            "scope=wms:write" if page == OPERATORS else "scope=SCOPE": "scope=messages",
        }.items():
            assert shown in script
            script = script.replace(shown, here)
        result = run_program("/bin/sh", "-e", "-c", script)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("HTTP/1.1 200 OK")
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        callers = [json.loads(line).get("caller") for line in process.err if line.startswith("{")]
        assert "https://issuer.example#demo" in callers


def test_program_issues_tokens_and_replaces_its_key(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "issue_token.py").write_text(read_block_in(OPERATORS, "python"))

    def issue(claims: str) -> str:
        result = run_program(sys.executable, "issue_token.py", claims, folder=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.strip()

    script = read_block(OPERATORS, ".venv/bin/python")
    assert 'issue_token.py \'{"scope": "wms:write"}\'' in script
    token = issue('{"scope": "wms:write"}')
    file = next(text for text in FILES.values() if "https://issuer.example/jwks" in text and "wms:events" in text)
    (tmp_path / "issuers.yaml").write_text(file.replace("https://issuer.example/jwks", "file:jwks.json"))
    serve = budkavle("serve", "--port", "0")
    with running(*serve, folder=tmp_path, database_url=sqlite_url, issuers="issuers.yaml") as process:
        service = process.wait_for("Budkavle listens on ")
        url = f"{service}/webmessages/external-references/flowInstanceId/1068"

        def call(token: str) -> requests.Response:
            return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

        assert call(token).status_code == 200
        assert "The token has expired" in call(issue('{"scope": "wms:write", "exp": 1}')).headers["WWW-Authenticate"]
        (tmp_path / "issuer-key.pem").unlink()
        assert call(issue('{"scope": "wms:write"}')).status_code == 200
        assert call(token).status_code == 401


def test_command_prints_the_hash_of_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("client.example").cert_chain_pems[0]
    certificate.write_to_path(str(tmp_path / "client.pem"))
    result = run_program("/bin/sh", "-e", "-c", read_block(OPERATORS, "openssl"), folder=tmp_path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.bytes().decode())).digest()
    assert result.stdout.strip() == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_class_for_callers_follows_the_rules(sqlite_url: str, tmp_path: Path) -> None:
    """It keeps its token, and requests another one if the token is not valid any more."""
    issued = []

    class Issuer(DemoIssuer):
        def create_token(self, *scopes: str, **more: object) -> str:
            issued.append(scopes)
            return super().create_token(*scopes, **more)

    namespace: dict[str, Any] = {}
    exec(compile(read_block_in(CALLERS, "python"), CALLERS, "exec"), namespace)  # The code of our own page.
    issuer = Issuer(now)
    with running_as_shown(tmp_path, sqlite_url, issuer) as (_, service), running_issuer(issuer) as endpoint:
        caller = namespace["Caller"](endpoint, CLIENT, SECRET, "messages")
        url = f"{service}/webmessages/external-references/errandNumber/A-1"
        assert [caller.request("GET", url).status_code for _ in range(3)] == [200, 200, 200]
        assert issued == [("messages",)]
        # The service no longer accepts it, for example because the key of the issuer was withdrawn.
        caller._token = caller._token[:-20] + "A" * 20
        message = {"message": "Hello", "externalReferences": [{"key": "errandNumber", "value": "A-1"}]}
        assert caller.request("POST", f"{service}/webmessages", json=message).status_code == 201
        assert issued == [("messages",)] * 2
        # Another token would not help.
        assert caller.request("POST", f"{service}/v1/besked", json={}).status_code == 403
        assert issued == [("messages",)] * 2
        with pytest.raises(requests.HTTPError, match="401"):
            namespace["Caller"](endpoint, CLIENT, "wrong", "messages").request("GET", url)
