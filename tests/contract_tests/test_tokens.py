"""Tokens of a check: fetched with client credentials, renewed in time, and errors that name the cause."""

import base64
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from budkavle.demo.issuer import DemoIssuer
from contract_tests.tokens import (
    DEFAULT_SECONDS,
    RETRY_SECONDS,
    ClientCredentials,
    GivenToken,
    Issued,
    TokenError,
    Tokens,
    read_tokens,
)
from tests.contract_tests.issuing import running_issuer
from tests.contract_tests.odd_servers import odd_server
from tests.contract_tests.stub_server import StubServer, running_stub

SECRET = "s3cr3t-of-the-client"


def encode_token(**claims: object) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, 1)
    )


@pytest.fixture
def endpoint() -> Iterator[StubServer]:
    with running_stub() as server:
        server.responses = {"GET": (200, "moved")}
        yield server


def fetch(server: StubServer, status: int, answer: object) -> Issued:
    server.responses["POST"] = (status, answer if isinstance(answer, str) else json.dumps(answer))
    return ClientCredentials(f"{server.url}/token", "client", SECRET).fetch()


def test_fetch_sends_the_secret_in_the_body_if_the_endpoint_wants_it(endpoint: StubServer) -> None:
    endpoint.responses["POST"] = (200, json.dumps({"access_token": "a", "token_type": "Bearer"}))
    credentials = ClientCredentials(f"{endpoint.url}/token", "client", "s:+ ø", is_secret_in_body=True)
    assert credentials.fetch().token == "a"
    body = b"grant_type=client_credentials&client_id=client&client_secret=s%3A%2B+%C3%B8"
    assert endpoint.requests == [("POST", "/token", body)]


def test_fetch_uses_client_credentials() -> None:
    issuer = DemoIssuer(lambda: datetime.now(UTC), lifetime=77)
    with running_issuer(issuer) as url:
        issued = ClientCredentials(url, "demo", "demo", [("scope", "messages")]).fetch()
        wrong = [("demo", "demo:x"), ("d+m:o", "demo"), ("demo", "d%65mo")]
        for client, secret in wrong:
            with pytest.raises(
                TokenError, match=f"the token endpoint {url} answered 401 invalid_client: the client is "
            ):
                ClientCredentials(url, client, secret).fetch()
        with pytest.raises(TokenError, match=r"answered 400 invalid_scope: the scopes are messages and publish$"):
            ClientCredentials(url, "demo", "demo", [("scope", "everything")]).fetch()
    claims = json.loads(base64.urlsafe_b64decode(issued.token.split(".")[1] + "=="))
    assert (issued.seconds, claims["scope"]) == (77, "messages")


def test_fetch_sends_the_parameters(endpoint: StubServer) -> None:
    endpoint.responses["POST"] = (200, '{"access_token": "a.b-c_d~e+f/g==", "token_type": "bearer"}')
    parameters = [("scope", "a b"), ("audience", "https://budkavle.example?&=")]
    issued = ClientCredentials(f"{endpoint.url}/token", "client", SECRET, parameters).fetch()
    assert issued == Issued("a.b-c_d~e+f/g==", DEFAULT_SECONDS)
    body = b"grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fbudkavle.example%3F%26%3D"
    assert endpoint.requests == [("POST", "/token", body)]


REFUSALS = {
    "error": (
        401,
        {"error": "invalid_client", "error_description": "unknown\nclient"},
        "401 invalid_client: unknown client",
    ),
    "error alone": (400, {"error": "invalid_grant"}, "400 invalid_grant"),
    "page": (502, "<h1>Bad Gateway</h1>", "502 <h1>Bad Gateway</h1>"),
    "nothing": (503, "", "503"),
    "success without a token": (200, {"error": "x"}, "200 without an access_token"),
    "success without JSON": (200, "<h1>Log in</h1>", "200 without an access_token"),
    "list": (200, [], "200 without an access_token"),
    "number": (200, {"access_token": 1}, "200 without an access_token"),
    "line break": (200, {"access_token": "a\r\nb", "token_type": "Bearer"}, "that a header cannot contain"),
    "other type": (200, {"access_token": "a", "token_type": "DPoP"}, "the token_type 'DPoP' instead of Bearer"),
    "no type": (200, {"access_token": "a"}, "the token_type None instead of Bearer"),
}


@pytest.mark.parametrize(("status", "answer", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_fetch_reports_the_answer_of_the_endpoint(
    status: int, answer: object, words: str, endpoint: StubServer
) -> None:
    with pytest.raises(TokenError) as caught:
        fetch(endpoint, status, answer)
    text = str(caught.value)
    assert text.startswith(f"the token endpoint {endpoint.url}/token answered {status}")
    assert text.endswith(words)
    assert SECRET not in text


def test_fetch_does_not_follow_redirects() -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    with odd_server(answer) as url, pytest.raises(TokenError, match=r"redirects to http://127\.0\.0\.1:1/login$"):
        ClientCredentials(url, "client", SECRET).fetch()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_fetch_reports_an_unusable_answer(answer: bytes) -> None:
    with odd_server(answer) as url, pytest.raises(TokenError, match=f"^the token endpoint {url} "):
        ClientCredentials(url, "client", SECRET).fetch()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_fetch_waits_for_a_limited_time(head: bytes) -> None:
    """Also for an endpoint that sends one byte at a time."""
    with (
        odd_server(head, b" ", is_endless=True, interval=0.05) as url,
        pytest.raises(TokenError, match=f"^the token endpoint {url} has not answered completely within 0.5 s$"),
    ):
        ClientCredentials(url, "client", SECRET, timeout=0.5).fetch()


@pytest.mark.parametrize(
    ("given", "seconds"), [(300, 300), ("3599", 3599), (0.5, 0.5), (0, None), (-1, None), ("x", None)]
)
@pytest.mark.parametrize("name", ["expires_in"])
def test_fetch_reads_the_lifetime(given: object, seconds: float | None, name: str, endpoint: StubServer) -> None:
    answer = {"access_token": "a", "token_type": "Bearer", name: given}
    assert fetch(endpoint, 200, answer).seconds == (seconds or DEFAULT_SECONDS)


class Source:
    """Issues tokens of these lifetimes, then fails."""

    secret = SECRET

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.fetched = 0

    def fetch(self) -> Issued:
        if not self.seconds:
            raise TokenError("no more tokens")
        self.fetched += 1
        return Issued(f"token-{self.fetched}", self.seconds.pop(0))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_token_is_renewed_before_it_expires(tmp_path: Path) -> None:
    clock, source = Clock(), Source(3600, 60, 10, 3600)
    tokens = Tokens(tmp_path / "tokens", source, clock)
    for moment, expected in ((3539, 1), (3541, 2), (3570, 2), (3572, 3), (3576, 3), (3578, 4)):
        clock.now = 1000.0 + moment
        tokens.renew()
        assert read_tokens(tokens.file)[-1] == f"token-{expected}", moment
    # All of them stay known, because reports may contain each.
    assert read_tokens(tokens.file) == ["token-1", "token-2", "token-3", "token-4"]


def test_old_token_is_used_until_it_expires(tmp_path: Path) -> None:
    clock, source = Clock(), Source(100)
    tokens = Tokens(tmp_path / "tokens", source, clock)
    for moment in (51, 51 + RETRY_SECONDS, 99):
        clock.now = 1000.0 + moment
        tokens.renew()
    source.seconds = [100]
    clock.now = 1000.0 + 51 + RETRY_SECONDS * 2 + 40
    tokens.renew()
    assert read_tokens(tokens.file) == ["token-1", "token-2"]
    clock.now += 101
    with pytest.raises(TokenError, match="no more tokens"):
        tokens.renew()


def test_only_the_user_can_read_the_file(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", Source(100))
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600


def test_given_token_is_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("opaque-token\n")
    assert GivenToken("a.b").fetch() == Issued("a.b")
    assert GivenToken(f"@{file}").fetch() == Issued("opaque-token")
    remaining = GivenToken(encode_token(exp=datetime.now(UTC).timestamp() + 50)).fetch().seconds
    assert remaining is not None
    assert 0 < remaining <= 50
    for claims in ({}, {"exp": "x"}, {"exp": None}, {"exp": 1e999}, {"exp": [1]}):
        assert GivenToken(encode_token(**claims)).fetch().seconds is None


def test_given_token_is_read_again_when_it_expires(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "token"
    now = datetime.now(UTC).timestamp()
    first, second = encode_token(exp=now + 50), encode_token(exp=now + 500)
    file.write_text(first)
    tokens = Tokens(tmp_path / "tokens", GivenToken(f"@{file}"), clock)
    clock.now += 51
    tokens.renew()
    file.write_text(second)
    clock.now += 51
    tokens.renew()
    assert read_tokens(tokens.file) == [first, second]


@pytest.mark.parametrize("text", ["", "a b", "Bearer x", "a\n", "ø", "@/nothing/there", "=", "a.b=c"])
def test_unusable_token_is_reported(text: str) -> None:
    with pytest.raises(TokenError):
        GivenToken(text).fetch()


def test_expired_token_is_reported() -> None:
    with pytest.raises(TokenError, match="has expired"):
        GivenToken(encode_token(exp=1)).fetch()
