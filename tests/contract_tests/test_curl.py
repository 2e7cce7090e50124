"""The shell command repeats the call of an ordinary client, with the keys of the shell."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract_tests.curl import format_curl
from contract_tests.evidence import SentRequest
from contract_tests.target import Certificate, CheckTarget
from tests.certificates import Authority
from tests.contract_tests.recording import Recorder, running_recorder, skip_without

KEYS = {"API_KEY": "a'b$c", "PUBLISH_KEY": 'd"e', "CLIENT_CERT": ":Q2VydA==:", "TOKEN": "ey.Ab-_~+/9"}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    skip_without("curl")
    with running_recorder() as recorder:
        yield recorder


def build_target(url: str) -> CheckTarget:
    return CheckTarget(url, KEYS["API_KEY"], KEYS["PUBLISH_KEY"], Certificate("", None, KEYS["CLIENT_CERT"]))


def split_request(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the request line, headers by lower-case name, and the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in pairs}, body


BODIES = {
    "JSON": b'{"a": "b"}',
    "quotes": b"""It's "$HOME" `id` \\ \\n !""",
    "lines": b"a\nb\r\nc\n",
    "UTF-8": "Gr\u00f8d p\u00e5 b\u00e5l \U0001f600".encode(),
    "no UTF-8": b"r\xe4k\xff",
    "NUL": b"a\0b",
    "all bytes": bytes(range(256)),
    "a file name": b"@/nothing",
    "large": b"x" * 5000,
    "large lines": b"a\n" * 5000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("content_type", ["application/json", None])
def test_body_is_sent_unchanged(content_type: str | None, body: bytes, recorder: Recorder, tmp_path: Path) -> None:
    headers = {"apikey": KEYS["API_KEY"], **({"Content-Type": content_type} if content_type else {})}
    line = format_curl(SentRequest("POST", "/webmessages", headers, body), build_target(recorder.url), tmp_path)
    first, seen, request = split_request(recorder.run(line, len(body), has_head=True, **KEYS))
    assert (first, request) == ("POST /webmessages HTTP/1.1", body)
    assert (seen["apikey"], seen.get("content-type")) == (KEYS["API_KEY"], content_type)
    assert KEYS["API_KEY"] not in line


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/webmessages/recipients/x?limit=1&after=a%00b"),
        ("GET", "/webmessages/[a-c]/{d,e}/../%2e%2e?a[]=$HOME'\"`id`"),
        ("DELETE", "/webmessages/x"),
        ("TRACE", "/webmessages"),
        ("QUERY", "/v1/besked"),
    ],
)
def test_command_has_the_method_and_the_path(method: str, path: str, recorder: Recorder, tmp_path: Path) -> None:
    line = format_curl(SentRequest(method, path, {}), build_target(recorder.url), tmp_path)
    first, seen, _ = split_request(recorder.run(line, 0, has_head=True))
    assert first == f"{method} {path} HTTP/1.1"
    assert "content-type" not in seen


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("apikey", KEYS["API_KEY"], "$API_KEY"),
        ("apikey", KEYS["PUBLISH_KEY"], "$PUBLISH_KEY"),
        ("Client-Cert", KEYS["CLIENT_CERT"], "$CLIENT_CERT"),
        ("apikey", "", "apikey;"),
        ("apikey", "wr\"o'ng$", "wr"),
        ("x-request-id", "a b`id`", "a b"),
        ("Authorization", "Bearer ey.Ab-_~+/9", '"Authorization: Bearer $TOKEN"'),
        ("authorization", "bearer ey.Ab-_~+/9", '"authorization: bearer $TOKEN"'),
        ("Authorization", "Bearer ey.Ab-_~+/", "Bearer ${TOKEN%?}"),
        ("Authorization", "Bearer ey.Ab-_~+/9x", "Bearer ${TOKEN}x"),
        ("Authorization", "Bearer ey.", "Bearer ${TOKEN%.*}."),
        ("Authorization", "Bearer o.$her`id`", "Bearer o."),
        ("Authorization", "Bearer", "'Authorization: Bearer'"),
        ("Authorization", "Basic YTpi", "'Authorization: Basic YTpi'"),
    ],
)
def test_headers_use_the_variables_of_the_shell(
    name: str, value: str, word: str, recorder: Recorder, tmp_path: Path
) -> None:
    # The token has been renewed since.
    (tmp_path / "tokens").write_text(f"{KEYS['TOKEN']}\nanother\n")
    target = replace(build_target(recorder.url), token_file=str(tmp_path / "tokens"))
    line = format_curl(SentRequest("GET", "/", {name: value}), target, tmp_path)
    assert word in line
    assert not any(key in line for key in KEYS.values())
    _, seen, _ = split_request(recorder.run(line, 0, has_head=True, **KEYS))
    assert seen[name.lower()] == value


@pytest.mark.parametrize("by_tls", [False, True])
def test_certificate_is_sent_by_tls_if_the_check_did(by_tls: bool, tmp_path: Path) -> None:
    skip_without("curl")
    authority = Authority(tmp_path)
    caller = authority.issue()
    with running_recorder(authority) as recorder:
        target = CheckTarget(recorder.url, certificate=Certificate(str(caller.file), None, "x"), ca=str(authority.file))
        recorder.run(format_curl(SentRequest("GET", "/", {}, None, by_tls), target, tmp_path), 0, has_head=True)
    assert recorder.certificate == (caller.der if by_tls else None)


def test_large_bodies_are_saved_once(tmp_path: Path) -> None:
    lines = {
        format_curl(SentRequest("POST", "/", {}, body), build_target("http://x.test"), tmp_path)
        for body in (b"x" * 5000, b"x" * 5000)
    }
    (file,) = (tmp_path / "sent").iterdir()
    assert file.read_bytes() == b"x" * 5000
    assert len(lines) == 1
