"""`budkavle contract-check` with access tokens: intact services, tokens that expire, and endpoints that fail."""

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from budkavle.clock import now
from budkavle.commands.contract_check import run_check
from budkavle.demo.issuer import CLIENT, SECRET, DemoIssuer
from budkavle.specs import find_spec_dir
from contract_tests.suites import Check
from contract_tests.target import CheckTarget, read_certificate
from contract_tests.tokens import Issued, TokenError
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import ALLOWED_PAIRS, CASE, Server, parse_skip_reasons, start_with_few_examples
from tests.contract_tests.issuing import running_issuer
from tests.contract_tests.test_check_echoing_server import WAYS, echo_credentials, reveals
from tests.shown_commands import read_block
from tests.warm_suites import WarmSuite

RULES_OF_TOKENS = ("test_web_message_tokens.py", "test_event_tokens.py", "test_subscription_tokens.py")
LIFETIME = 12
"""Seconds. A service accepts a token ten seconds longer, a check takes longer than both."""

BOUND = "needs a --token that is bound to --client-cert"
WITHOUT_KEYS = {
    "needs --api-key",
    "needs --api-key and a --token without access to messages",
    "needs --publish-key of another key than --api-key",
    "needs a --token without access to events",
    BOUND,
}
"""The reasons for checks that are left out if there is a token of all scopes and no key."""


class RecordingIssuer(DemoIssuer):
    """Keeps the tokens that it issues."""

    def __init__(self) -> None:
        super().__init__(now, lifetime=LIFETIME)
        self.issued: list[str] = []

    def create_token(self, *scopes: str, **more: object) -> str:
        self.issued.append(super().create_token(*scopes, **more))
        return self.issued[-1]


@pytest.fixture
def issuer() -> RecordingIssuer:
    return RecordingIssuer()


@pytest.fixture
def endpoint(issuer: RecordingIssuer) -> Iterator[str]:
    with running_issuer(issuer) as url:
        yield url


def check_with_tokens(server: Server, folder: Path, endpoint: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Check a server without keys."""
    program, command, url, *_ = server.command(folder)
    credentials = ("--token-url", endpoint, "--client-id", CLIENT, "--client-cert", str(server.certificate))
    report = ("--case", CASE, "--report", str(folder / "report"), *options)
    return server.run(folder, program, command, url, *credentials, *report, BUDKAVLE_CHECK_CLIENT_SECRET=SECRET)


def list_texts(report: Path, result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return everything that a check has printed or written."""
    files = [path for path in report.rglob("*") if path.is_file()]
    written = {str(path): path.read_bytes().decode("latin-1") for path in files}
    return {"the screen": result.stdout + result.stderr, **written}


def test_intact_service_has_no_findings_with_tokens_alone(
    server: Server, issuer: RecordingIssuer, endpoint: str, tmp_path: Path
) -> None:
    """The command is that of the reference, with all rules. The token is renewed many times."""
    script = read_block("docs/reference/contract-check.md", "export")
    for shown, here in {
        "https://budkavle.example --allow-host budkavle.example": f"{server.url} --suite rules",
        "client.pem": str(server.certificate),
        "https://issuer.example/token": endpoint,
        "--client-id contract-check": f"--client-id {CLIENT}",
        "=SECRET": f"={SECRET}",
        "scope=wms:write wms:events": "scope=messages publish",
    }.items():
        assert script.count(shown) == 1
        script = script.replace(shown, here)
    work = tmp_path / "work"
    work.mkdir()
    result = server.run(work, "/bin/sh", "-e", "-c", script)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout
    assert parse_skip_reasons(result.stdout) == WITHOUT_KEYS
    assert len(issuer.issued) > 2
    for name, text in list_texts(work / "contract-report", result).items():
        assert not any(token.rpartition(".")[2] in text for token in issuer.issued), name


@dataclass(frozen=True)
class Renewed:
    """Returns new tokens of all scopes."""

    issuer: DemoIssuer
    secret = None

    def fetch(self) -> Issued:
        return Issued(self.issuer.create_token("messages", "publish"), LIFETIME)


def test_intact_service_has_no_findings_in_generated_requests_with_tokens_alone(
    server: Server, issuer: RecordingIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Operations with a token, with a certificate, and linked; the test with a bound token has web messages."""
    target = replace(without_keys(server.target()), allowed=ALLOWED_PAIRS)
    check = Check(
        *(target, find_spec_dir(), tmp_path / "report", ("subscriptions",)),
        kinds=("schema",),
        only=("opretBesked", "hentBeskeder", "genfremsendBeskeder"),
        start=start_with_few_examples,
    )
    assert run_check(check, Renewed(issuer)) == 0, capsys.readouterr().out


def without_keys(target: CheckTarget) -> CheckTarget:
    return replace(target, api_key=None, publish_key=None)


def run_rules(target: CheckTarget, folder: Path, *files: str, **options: object) -> int:
    known = replace(target, allowed=ALLOWED_PAIRS)
    return run_check(
        Check(known, find_spec_dir(), folder / "report", kinds=("rules",), only=files, start=WarmSuite, **options)
    )


def test_intact_service_has_no_findings_with_raw_requests(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing renews this token.
    later = int(now().timestamp()) + 600
    target = without_keys(server.target("messages", "publish", exp=later))
    files = ("test_tokens.py", "test_queries.py", "test_subscription_events.py")
    code = run_check(
        Check(
            *(target, find_spec_dir(), tmp_path / "report"),
            profile="full",
            kinds=("raw-bytes",),
            only=files,
            start=WarmSuite,
        )
    )
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert parse_skip_reasons(printed) <= {"needs --publish-key of another key than --api-key and --api-key"}


LIMITED = {
    "messages": {"needs a --token without access to messages", "needs a --token for events", BOUND},
    "publish": {"needs a --token without access to events", "needs a --token for messages", BOUND},
}


@pytest.mark.parametrize(("scope", "reasons"), LIMITED.items(), ids=LIMITED.keys())
def test_intact_service_has_no_findings_with_a_limited_token(
    scope: str, reasons: set[str], server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_rules(server.target(scope), tmp_path, *RULES_OF_TOKENS) == 0
    assert parse_skip_reasons(capsys.readouterr().out) == reasons


def test_intact_service_has_no_findings_with_a_token_of_the_certificate(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every request with the token presents the certificate to which it is bound."""
    der = base64.b64decode(read_certificate(server.certificate, None).header.strip(":"))
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    later = int(now().timestamp()) + 600
    target = without_keys(server.target("messages", "publish", cnf={"x5t#S256": thumbprint}, exp=later))
    files = (*RULES_OF_TOKENS, "test_web_message_deletion.py", "test_event_faults.py")
    assert run_rules(target, tmp_path, *files) == 0
    reasons = parse_skip_reasons(capsys.readouterr().out)
    assert reasons == WITHOUT_KEYS - {BOUND} | {"needs a --token that is not bound"}
    # A few operations: all get their headers in the same way.
    check = Check(
        *(target, find_spec_dir(), tmp_path / "report", ("web-messages",)),
        kinds=("schema",),
        only=("createWebMessage", "WebMessageById"),
        start=start_with_few_examples,
    )
    assert run_check(check) == 0, capsys.readouterr().out
    raw = ("test_queries.py", "test_subscription_events.py")
    check = Check(
        *(target, find_spec_dir(), tmp_path / "report"),
        profile="full",
        kinds=("raw-bytes",),
        only=raw,
        start=WarmSuite,
    )
    assert run_check(check) == 0, capsys.readouterr().out


class ShortLived:
    """Returns one token, and then only errors."""

    secret = None

    def __init__(self, token: str) -> None:
        self._tokens = [Issued(token, 2)]

    def fetch(self) -> Issued:
        if not self._tokens:
            raise TokenError("the token endpoint https://issuer.example/token answered 503")
        return self._tokens.pop()


def test_check_ends_when_there_is_no_valid_token(
    server: Server, issuer: RecordingIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failure is not that of the server."""
    check = Check(without_keys(server.target()), find_spec_dir(), tmp_path / "report")
    code = run_check(check, ShortLived(issuer.create_token("messages", "publish")))
    printed = capsys.readouterr().out
    assert code == 2, printed
    assert "was NOT CHECKED to the end" in printed
    assert printed.count("checks, none failed, the token endpoint https://issuer.example/token answered 503") == 1
    assert "schema of" not in printed


class TestServerWithoutTokens:
    """The contract of the server lacks tokens, or it has no issuers."""

    @pytest.fixture
    def issuer(self) -> None:
        return None

    def test_server_is_checked_without_the_rules_of_tokens(
        self, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_rules(server.target(), tmp_path, *RULES_OF_TOKENS) == 0
        assert parse_skip_reasons(capsys.readouterr().out) == {"needs a target that accepts tokens"}

    def test_token_that_is_not_accepted_is_reported(self, server: Server, tmp_path: Path) -> None:
        result = server.check(tmp_path, "--token", "opaque-token")
        assert result.returncode == 2
        assert "Error: the token is rejected: ApiKey " in result.stderr


class TestEchoingServer:
    """A server that repeats credentials in its responses."""

    @pytest.fixture
    def breakage(self) -> Breakage:
        return echo_credentials

    def test_output_and_files_contain_no_token(
        self, server: Server, issuer: RecordingIssuer, endpoint: str, tmp_path: Path
    ) -> None:
        options = ("--spec", "web-messages", "--suite", "schema", "--fail-fast")
        result = check_with_tokens(server, tmp_path, endpoint, *options)
        assert_no_token(list_texts(tmp_path / "report", result), issuer)

    def test_output_and_files_of_rules_contain_no_token(
        self, server: Server, issuer: RecordingIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        check = Check(
            *(without_keys(server.target()), find_spec_dir(), tmp_path / "report", ("web-messages",)),
            kinds=("rules",),
            only=(
                *("test_web_message_tokens.py", "test_web_message_access.py"),
                "test_web_message_faults.py::test_instance_must_be_a_name",
            ),
            start=WarmSuite,
        )
        code = run_check(check, Renewed(issuer))
        result = subprocess.CompletedProcess((), code, *capsys.readouterr())
        assert_no_token(list_texts(tmp_path / "report", result), issuer)


def assert_no_token(texts: dict[str, str], issuer: RecordingIssuer) -> None:
    """Assert that findings were printed or written with the name of the token, and without the token."""
    assert "BREAKS the contract" in texts["the screen"], texts
    assert any("$TOKEN" in text for text in texts.values()), texts
    for name, text in texts.items():
        small = text.lower()
        for token in issuer.issued:
            assert token.rpartition(".")[2].lower() not in small, name
            for way in ("plain", "hexadecimal", "base64", "JSON, every character"):
                assert not reveals(small, WAYS[way](token)), (name, way)
