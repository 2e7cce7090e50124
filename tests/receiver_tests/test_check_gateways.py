"""`budkavle receiver-check` of receivers behind a gateway, which wants a header and an access token."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from budkavle.demo.issuer import DemoIssuer
from tests.contract_tests.issuing import running_issuer
from tests.contract_tests.recording import skip_without
from tests.processes import run_program
from tests.receiver_tests.checking import run_check
from tests.receiver_tests.right_receiver import Request, RightReceiver, serving
from tests.shown_commands import read_block
from tests.warm_commands import build_shell_command
from tests.webhook_receivers import SECRET

KEY = "the-key-of-the-gateway"


class Gateway(RightReceiver):
    """A right receiver behind a gateway. `tokens` has the tokens of requests that passed the gateway."""

    refusal = 403

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.rejected = 0

    def respond(self, request: Request) -> int | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if request.headers.get("X-Api-Key") != KEY or scheme != "Bearer" or token.count(".") != 2:
            self.rejected += 1
            return self.refusal
        self.tokens.append(token)
        return super().respond(request)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", KEY)
    monkeypatch.setenv("BUDKAVLE_CHECK_CLIENT_SECRET", "demo")


def test_each_request_has_the_header_and_a_valid_token(tmp_path: Path) -> None:
    receiver = Gateway()
    # A token is renewed at half of its lifetime.
    with running_issuer(DemoIssuer(lambda: datetime.now(UTC), lifetime=1)) as token_url, serving(receiver) as url:
        options = ("--header", "X-Api-Key=env:GATEWAY_KEY", "--token-url", token_url, "--client-id", "demo")
        result = run_check(url, tmp_path, *options)
    assert result.exit_code == 0
    assert receiver.rejected == 0
    assert len(set(receiver.tokens)) > 1


def test_report_of_a_broken_receiver_contains_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Gateway):
        def is_recent(self, request: Request) -> bool:
            return True

    skip_without("curl", "openssl")
    (tmp_path / "two words").write_text("second-value\n")
    receiver = Broken()
    with running_issuer(DemoIssuer(lambda: datetime.now(UTC))) as token_url, serving(receiver) as url:
        result = run_check(
            url,
            tmp_path,
            *("--header", "X-Api-Key=env:GATEWAY_KEY", "--header", f"X-Second=file:{tmp_path / 'two words'}"),
            *("--token-url", token_url, "--client-id", "demo", "--suite", "signatures"),
        )
        assert result.exit_code == 1
        assert "set WEBHOOK_SECRET and GATEWAY_KEY and TOKEN, and run: " in result.output
        texts = [
            result.output,
            *(file.read_text("latin-1") for file in (tmp_path / "report").rglob("*") if file.is_file()),
        ]
        for secret in (KEY, "second-value", *receiver.tokens):
            assert not any(secret in text for text in texts)
        monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("TOKEN", receiver.tokens[-1])
        (command, *_) = re.findall(r"^ +(t=.*curl.*)$", (tmp_path / "report" / "summary.txt").read_text(), re.MULTILINE)
        code = f". {tmp_path}/report/variables.sh\n{command}"
        assert "HTTP/1.1 204" in run_program("/bin/sh", "-c", code).stdout


def test_report_has_the_reason_of_a_gateway_without_its_key(tmp_path: Path) -> None:
    receiver = Gateway()
    receiver.content = f"<p>no token\x1b[31m</p>\r\n<p>key {KEY}</p> {'x' * 25} {KEY} {'x' * 200}".encode()
    with serving(receiver) as url:
        result = run_check(url, tmp_path, "--header", "X-Api-Key=env:GATEWAY_KEY", "--fail-fast")
    assert result.exit_code == 1
    assert 'the answer is 403 "<p>no token\N{REPLACEMENT CHARACTER}[31m</p> <p>key ***</p> xxx' in result.output
    assert "the signature of the sent bytes is valid" in result.output
    report = (tmp_path / "report" / "deliveries.xml").read_text()
    assert "no token" in report
    # Nor the beginning of a key that is longer than the rest of the text.
    assert KEY[:10] not in result.output + report


def test_report_has_the_challenge_of_a_gateway(tmp_path: Path) -> None:
    class Challenging(Gateway):
        refusal = 401
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # noqa: RUF012  # Nothing changes it.

    with serving(Challenging()) as url:
        result = run_check(url, tmp_path, "--fail-fast")
    assert 'the answer is 401 "Bearer error="invalid_token"", so' in result.output


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--header", "X-Api-Key=env:MISSING"), "--header X-Api-Key: env:MISSING is not set"),
        (("--header", "X-Api-Key=hunter2"), "--header X-Api-Key: a reference must be env:NAME or file:PATH"),
        (("--header", "X-Api-Key: hunter2"), "--header must be NAME=env:NAME or NAME=file:PATH"),
        (("--header", "Host=env:GATEWAY_KEY"), "the header 'Host' is reserved"),
        (("--header", "=env:GATEWAY_KEY"), "the header '' must be the name of a header"),
        (("--header", "A=env:GATEWAY_KEY", "--header", "a=env:GATEWAY_KEY"), "the header 'a' is given twice"),
        (("--token-url", "http://192.0.2.1/token", "--client-id", "a"), "must begin with https://"),
        (("--token-url", "http://127.0.0.1:1/token"), "--token-url needs --client-id"),
        (("--client-id", "a"), "need --token-url"),
        (
            ("--token-url", "http://127.0.0.1:1/", "--client-id", "a", "--header", "authorization=env:GATEWAY_KEY"),
            "--token-url and --header Authorization exclude each other",
        ),
        (("--token-url", "http://127.0.0.1:1/token", "--client-id", "a"), "/token cannot be reached: "),
    ],
)
def test_invalid_options_have_exit_code_2(options: tuple[str, ...], error: str, tmp_path: Path) -> None:
    result = run_check("http://127.0.0.1:1/", tmp_path, *options)
    assert result.exit_code == 2
    assert error in result.output
    assert "hunter2" not in result.output


def test_shown_command_checks_a_receiver_behind_a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    (tmp_path / "client-secret").write_text("demo\n")
    receiver = Gateway()
    with running_issuer(DemoIssuer(lambda: datetime.now(UTC))) as token_url, serving(receiver) as url:
        script = read_block("docs/reference/receiver-check.md", "budkavle receiver-check")
        for shown, actual in (
            ("https://gateway.test/star/webhook --allow-host gateway.test", f"{url} --suite repetitions"),
            ("https://login.test/token", token_url),
            ("--client-id budkavle", "--client-id demo"),
            ("scope=star.webhooks", "scope=messages"),
        ):
            assert shown in script
            script = script.replace(shown, actual)
        result = run_program(*build_shell_command(script), folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert receiver.rejected == 0
