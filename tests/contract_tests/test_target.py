"""A target as its file declares it, and the bytes that are sent to it."""

import socket
import stat
from pathlib import Path

import pytest

from contract_tests import attacks
from contract_tests.raw_http import CLOSED
from contract_tests.target import (
    API_KEY,
    BASE_PATH,
    CERTIFICATE,
    CUT_API_KEY,
    HOST,
    PUBLISH_KEY,
    SWAPPED_API_KEY,
    VARIABLE,
    Certificate,
    CheckTarget,
    SubscriptionIdentity,
    read_certificate,
)
from tests.certificates import Authority
from tests.contract_tests.recording import running_recorder

WHOLE = CheckTarget(
    "https://service.test:8443/api",
    "Secret",
    "publish",
    Certificate("c.pem", "k.pem", ":x:"),
    "ca.pem",
    queued=SubscriptionIdentity(1, 2, 3),
    allowed=((1, 3), (2, 4)),
    case=1068,
)


@pytest.mark.parametrize(
    ("place", "below"),
    [
        ("/api/webmessages/1?after=2", "/webmessages/1?after=2"),
        ("https://service.test:8443/api/webmessages/1", "/webmessages/1"),
        ("/webmessages/1", "/webmessages/1"),
        ("/apiary/1", "/apiary/1"),
        ("https://elsewhere.test/api/1", "https://elsewhere.test/api/1"),
        ("", ""),
    ],
)
def test_paths_are_parsed_with_and_without_a_base_path(place: str, below: str) -> None:
    assert WHOLE.below(place) == below
    assert CheckTarget("http://service.test").below("http://service.test/a") == "http://service.test/a"


@pytest.mark.parametrize("target", [WHOLE, CheckTarget("http://service.test")])
def test_target_file_is_read_as_it_was_written(
    target: CheckTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "target.json"
    target.write(file)
    monkeypatch.setenv(VARIABLE, str(file))
    assert CheckTarget.read(file) == CheckTarget.from_environment() == target
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_process_without_a_target_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert CheckTarget.from_environment() is None


def test_placeholders_are_replaced_by_facts() -> None:
    names = [HOST, BASE_PATH, API_KEY, CUT_API_KEY, SWAPPED_API_KEY, PUBLISH_KEY, CERTIFICATE]
    values = "service.test:8443 /api Secret Secre sECRET publish :x:"
    assert WHOLE.fill(" ".join(names).encode() + b" \0\xff{}") == values.encode() + b" \0\xff{}"
    assert CheckTarget("http://x.test").fill(" ".join(names).encode()) == b"x.test      "


def test_certificate_is_sent_by_tls_or_in_its_header() -> None:
    line = f"Client-Cert: {CERTIFICATE}\r\n".encode()
    assert WHOLE.fill(b"a\r\n" + line + b"b") == b"a\r\nb"
    assert CheckTarget("http://x.test", certificate=WHOLE.certificate).fill(line) == b"Client-Cert: :x:\r\n"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://x.test", ("x.test", 80, "", False)),
        ("https://x.test", ("x.test", 443, "", True)),
        ("http://[::1]:8080/a/b", ("::1", 8080, "/a/b", False)),
    ],
)
def test_url_contains_the_address(url: str, parts: tuple[str, int, str, bool]) -> None:
    target = CheckTarget(url)
    assert (target.host, target.port, target.base_path, target.is_tls) == parts


def test_caller_sends_a_certificate_if_the_bytes_require_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    caller = authority.issue()
    known = read_certificate(caller.file, None)
    assert known.header == caller.header
    for data, shown in ((attacks.sync(b"{}"), caller.der), (attacks.sync(b"{}", ":AAAA:"), None)):
        with running_recorder(authority) as recorder:
            target = CheckTarget(recorder.url, certificate=known, ca=str(authority.file))
            response = recorder.take(len(target.fill(data)), lambda target=target, data=data: target.send(data))
        assert (response.status, recorder.certificate) == (400, shown)


def test_file_without_a_certificate_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match="no PEM certificate"):
        read_certificate(file, None)


def test_closed_connection_is_accepted_only_from_a_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def send(target: CheckTarget) -> object:
            with target.connect() as connection:
                listener.accept()[0].close()
                return connection.read_response()

        assert send(CheckTarget(url)) is None
    with running_recorder() as recorder:
        assert recorder.take(1, lambda: CheckTarget(recorder.url).send(b"x"), response=b"") is CLOSED
    with running_recorder() as recorder, pytest.raises(AssertionError, match="without an answer"):
        recorder.take(1, lambda: CheckTarget(recorder.url, is_direct=True).send(b"x"), response=b"")
