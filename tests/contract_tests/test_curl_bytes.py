"""The shell command repeats raw bytes exactly, with the keys of the shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_tests import attacks, curl_bytes
from contract_tests.evidence import KEPT_BYTES, SentBytes
from contract_tests.target import API_KEY, CERTIFICATE, CUT_API_KEY, SWAPPED_API_KEY, Certificate, CheckTarget
from tests.certificates import Authority
from tests.contract_tests.recording import Recorder, running_recorder, skip_without

KEYS = {"API_KEY": r"a&b|c\d$e'f", "PUBLISH_KEY": "publish key", "CLIENT_CERT": ":Q2VydA+/==:"}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with running_recorder() as recorder:
        yield recorder


def build_target(url: str, **changes: str) -> CheckTarget:
    certificate = Certificate("", None, KEYS["CLIENT_CERT"])
    return CheckTarget(url, KEYS["API_KEY"], KEYS["PUBLISH_KEY"], certificate, **changes)


def record_bytes(data: bytes) -> SentBytes:
    sent_bytes = SentBytes()
    sent_bytes.add(data)
    return sent_bytes


OF_CURL = {
    "get": attacks.request(),
    "delete": attacks.request("DELETE", "/webmessages/x"),
    "no key": attacks.request(key=None),
    "key in the query": attacks.request(target=f"/webmessages/x?apikey={API_KEY}", key=None),
    "other key": attacks.request(key=CUT_API_KEY),
    "key swapped": attacks.request(key=f'"{SWAPPED_API_KEY}"'),
    "key twice": attacks.request(headers=["apikey: x"]),
    "path with dots and patterns": attacks.request(target="/webmessages/../[a-c]/{d,e}//./%2e%2e/"),
    "path that a shell reads": attacks.request(target="/$HOME/`id`/'\"!*?#x"),
    "target that is no path": attacks.request("GET", "*"),
    "whole URL": attacks.request(target="http://elsewhere.test/x"),
    "post": attacks.post(attacks.text(message='It\'s "$HOME" `id` \\ !')),
    "post of lines": attacks.post(b'\n{"a":\r\n\t1}\n'),
    "post of a file name": attacks.post(b"@/nothing"),
    "post of no type": attacks.post(b"{}", None),
    "post of bytes": attacks.post(bytes(range(256)) * 3),
    "post of much": attacks.post(b"x" * 100_000),
    "post of nothing": attacks.post(b"", headers=["Content-Length: 0"], content_type=None),
    "form": attacks.post(attacks.form(attacks.message_part(), attacks.file_part(b"\0\xff")), attacks.FORM),
    "sync": attacks.sync(b'{"systemIdentifier": 1}'),
}
OTHERS = {
    "chunks": attacks.post_in_chunks(attacks.text()),
    "two in one go": attacks.request() * 2,
    "length that lies": attacks.post(b"{}", headers=["Content-Length: 5"]),
    "lengths that differ": attacks.post(b"{}", headers=["Content-Length: 2", "Content-Length: 3"]),
    "header that is none": attacks.request(headers=[b"bad name: x"]),
    "white space in a header": attacks.request(headers=[f"apikey: \t {API_KEY} "], key=None),
    "empty header": attacks.request(headers=["apikey: "]),
    "bytes in a header": attacks.request(headers=[b"x: \xff\xfe\0", f"Client-Cert: {CERTIFICATE}"]),
    "bytes in a path": attacks.request(target=b"/\xff\0"),
    "no method": attacks.request(""),
    "upgrade header": attacks.request(headers=["Connection: Upgrade", "Upgrade: h2c"]),
    "no HTTP": bytes(range(256)),
    "no line break at the end": b"GET / HTTP/1.1",
    "half a key": attacks.request(headers=[f"x: {CUT_API_KEY}{SWAPPED_API_KEY}", "y\x01: z"]),
    "head": attacks.request("HEAD"),
}


@pytest.mark.parametrize("data", OF_CURL.values(), ids=OF_CURL.keys())
def test_request_becomes_a_curl_command(data: bytes, recorder: Recorder, tmp_path: Path) -> None:
    skip_without("curl")
    target = build_target(recorder.url)
    line = curl_bytes.format_raw(record_bytes(data), target, "test_it", tmp_path)
    assert line.startswith("curl ")
    assert recorder.run(line, len(target.fill(data)), **KEYS) == target.fill(data)
    assert not any(key in line for key in KEYS.values())


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS.keys())
def test_other_bytes_are_sent_from_a_file(data: bytes, recorder: Recorder, tmp_path: Path) -> None:
    skip_without("bash", "timeout")
    target = build_target(recorder.url)
    line = curl_bytes.format_raw(record_bytes(data), target, "test_it", tmp_path)
    assert not line.startswith("curl ")
    assert recorder.run(line, len(target.fill(data)), **KEYS) == target.fill(data)
    (file,) = (tmp_path / "sent").iterdir()
    assert not any(key.encode() in file.read_bytes() for key in KEYS.values())


@pytest.mark.parametrize("data", [attacks.sync(b"{}"), attacks.sync(b"{}") * 2], ids=["curl", "openssl"])
@pytest.mark.parametrize("holds_key", [False, True])
def test_certificate_is_sent_by_tls(data: bytes, holds_key: bool, tmp_path: Path) -> None:
    skip_without("curl", "openssl", "timeout")
    authority = Authority(tmp_path)
    caller = authority.issue()
    key = None if holds_key else str(caller.file)
    with running_recorder(authority) as recorder:
        target = CheckTarget(recorder.url, certificate=Certificate(str(caller.file), key, "x"), ca=str(authority.file))
        line = curl_bytes.format_raw(record_bytes(data), target, "test_it", tmp_path)
        assert recorder.run(line, len(target.fill(data))) == target.fill(data)
    assert recorder.certificate == caller.der
    assert b"Client-Cert" not in recorder.received


def test_call_without_a_certificate_sends_none(tmp_path: Path) -> None:
    skip_without("curl")
    authority = Authority(tmp_path)
    certificate = Certificate(str(authority.issue().file), None, "x")
    with running_recorder(authority) as recorder:
        target = CheckTarget(recorder.url, certificate=certificate, ca=str(authority.file))
        data = attacks.sync(b"{}", ":AAAA:")
        line = curl_bytes.format_raw(record_bytes(data), target, "test_it", tmp_path)
        assert recorder.run(line, len(target.fill(data))) == target.fill(data)
    assert recorder.certificate is None


@pytest.mark.parametrize("base_path", ["/api", "/api/v2"])
def test_base_path_precedes_each_path(base_path: str, recorder: Recorder, tmp_path: Path) -> None:
    skip_without("curl", "bash", "timeout")
    target = build_target(f"{recorder.url}{base_path}")
    data = attacks.request(target="/webmessages/[x]")
    line = curl_bytes.format_raw(record_bytes(data), target, "test_it", tmp_path)
    assert recorder.run(line, len(target.fill(data)), **KEYS).startswith(f"GET {base_path}/webmessages/[x] ".encode())


def test_data_beyond_the_limit_are_named_by_file(tmp_path: Path) -> None:
    line = curl_bytes.format_raw(
        record_bytes(b"x" * (KEPT_BYTES + 1)), build_target("http://127.0.0.1"), "test_it[large]", tmp_path
    )
    assert line == "# test_it[large] sent 1048577 bytes on one connection, more than are kept: run it again"
    assert curl_bytes.format_raw(record_bytes(b""), build_target("http://127.0.0.1"), "test_it", tmp_path).startswith(
        "# test_it sent nothing"
    )
