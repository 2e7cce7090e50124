"""Deliberately broken servers: a check that misses one of them proves nothing about others."""

from pathlib import Path

import pytest

from tests.contract_tests.breakages import BREAKAGES, Case
from tests.contract_tests.breakages_found import FOUND
from tests.contract_tests.checking import Server, assert_caught, encode_pem
from tests.contract_tests.odd_servers import odd_server
from tests.handlers.callers import create_certificate

ALL = BREAKAGES | FOUND


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_broken_server_is_detected(
    case: Case, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_caught(case, server, tmp_path, capsys)


def test_server_that_stops_responding_ends_the_check(tmp_path: Path) -> None:
    """The check reports a failure after the first checks without a response, and stops."""
    certificate = tmp_path / "client.pem"
    certificate.write_text(encode_pem(create_certificate().header))
    # The check sends three requests before it begins.
    with odd_server(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", clients=3) as url:
        result = Server(url, certificate, "").check(tmp_path, "--spec", "web-messages")

    assert result.returncode == 1, result.stdout + result.stderr
    assert "no answer: " in result.stdout
    assert "ended before all was checked" in result.stdout
    assert "schema of" not in result.stdout
