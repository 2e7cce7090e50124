"""Read responses of servers that do not follow HTTP, each on its own socket."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from contract_tests import check, reading
from contract_tests.preparing import BrokenContractError, CannotCheckError, explore
from contract_tests.reading import time_differs
from contract_tests.suites import Check
from contract_tests.target import CheckTarget
from tests.contract_tests.odd_servers import odd_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_read_whole_joins_chunks() -> None:
    body = b'{"a": 1}' + b" " * 100_000
    with odd_server(HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body[:5], body[5:]) as url:
        response = requests.get(url, stream=True, timeout=30)
        reading.read_whole(response)
    assert response.content == body
    assert response.json() == {"a": 1}


def test_read_whole_refuses_an_endless_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100_000)
    with odd_server(HEAD + b"\r\n", b"[" * 10_000, is_endless=True) as url:
        response = requests.get(url, stream=True, timeout=30)
        with pytest.raises(AssertionError, match="has no end"):
            reading.read_whole(response)


def test_read_whole_refuses_a_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_SECONDS", 0)
    with odd_server(HEAD + b"\r\n", b"[" * 1000) as url:
        response = requests.get(url, stream=True, timeout=30)
        with pytest.raises(AssertionError, match="has no end"):
            reading.read_whole(response)


@pytest.mark.parametrize(
    "response",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]",
        HEAD + b"Content-Length: 100\r\n\r\n[]",
    ],
    ids=["chunks", "gzip", "length"],
)
def test_learn_reports_an_unreadable_response_as_a_violation(response: bytes) -> None:
    with odd_server(response) as url, pytest.raises(BrokenContractError, match="cannot be read"):
        explore(CheckTarget(url, api_key="key"), ["web-messages"])


@pytest.mark.parametrize(
    "response", [b"", b"220 mail.test ESMTP\r\n", bytes(range(256))], ids=["none", "mail", "bytes"]
)
def test_learn_reports_a_server_without_http_as_unreachable(response: bytes) -> None:
    with odd_server(response) as url, pytest.raises(CannotCheckError, match="cannot be reached"):
        explore(CheckTarget(url, api_key="key"), ["web-messages"])


def test_check_ends_on_endless_interim_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LEARNING_SECONDS", 1)
    with odd_server(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, is_endless=True) as url:
        wanted = Check(CheckTarget(url, api_key="key"), tmp_path, tmp_path, ("web-messages",))
        with pytest.raises(CannotCheckError, match="sent no complete responses within 1 s"):
            check.run(wanted, lambda *_: None, lambda _: None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "0", "\xff", "Mon, 99 Foo 2026 99:99:99 GMT", "Thu, 01 Jan 2026 00:00:00 -0000"),
        # `requests` joins two headers of one name like this.
        "Thu, 01 Jan 2026 00:00:00 GMT, Thu, 01 Jan 2026 00:00:00 GMT",
    ],
)
def test_invalid_date_does_not_prove_a_time_difference(text: str) -> None:
    response = requests.Response()
    response.headers["Date"] = text
    assert not time_differs(response, datetime(2020, 1, 1, tzinfo=UTC), timedelta(minutes=5))


def test_date_proves_a_time_difference() -> None:
    response = requests.Response()
    response.headers["Date"] = "Thu, 01 Jan 2026 00:00:00 GMT"
    minutes = timedelta(minutes=5)
    assert time_differs(response, datetime(2026, 1, 1, 1, tzinfo=UTC), minutes)
    assert not time_differs(response, datetime(2026, 1, 1, tzinfo=UTC), minutes)
    # The clock of the server that wrote the Date may be wrong.
    assert not time_differs(response, datetime.now(UTC), minutes)
