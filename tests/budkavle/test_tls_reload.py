"""Renewed TLS files are used without a restart."""

import asyncio
import json
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from budkavle.settings import Settings
from budkavle.tls import ServerTls
from tests.budkavle.services import RunningProgram, running_program
from tests.budkavle.test_tls import OK, connect, read_response_start
from tests.certificates import Authority


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> dict[str, Path]:
    """Return settings of a service whose files belong to one test."""
    file = tmp_path / "service.pem"
    file.write_bytes(authority.issue("127.0.0.1", "localhost").file.read_bytes())
    return {"tls_cert": file, "tls_key": file, "client_ca": authority.file}


def read_certificate(port: int, authority: Authority) -> bytes | None:
    with connect(port, authority.create_context()) as connection:
        return connection.getpeercert(binary_form=True)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by another one, as tools that renew certificates do."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    other.replace(path)


def reload(service: RunningProgram, event: str) -> dict[str, Any]:
    """Send SIGHUP, and return the log line about it."""
    known = len(service.process.err)
    service.process.send(signal.SIGHUP)
    while True:
        for line in service.process.err[known:]:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry


def test_sighup_loads_a_renewed_certificate(sqlite_url: str, tls: dict[str, Path], authority: Authority) -> None:
    with running_program(sqlite_url, **tls) as service:
        before = read_certificate(service.port, authority)
        replace_file(tls["tls_cert"], authority.issue("localhost", "127.0.0.1").file.read_bytes())
        reload(service, "tls_reloaded")
        assert read_certificate(service.port, authority) != before
        # This includes clients that send no server name, and the older TLS version.
        context = authority.create_context()
        context.check_hostname = False
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert read_response_start(service.port, context) == OK


def test_sighup_loads_another_client_ca(
    sqlite_url: str, tls: dict[str, Path], authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    ours, theirs = authority.issue(), other.issue()
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.file.read_bytes())
    with running_program(sqlite_url, **tls | {"client_ca": ca}) as service:
        assert read_response_start(service.port, authority.create_context(ours)) == OK
        assert read_response_start(service.port, authority.create_context(theirs)) == b""
        replace_file(ca, other.file.read_bytes())
        reload(service, "tls_reloaded")
        assert read_response_start(service.port, authority.create_context(ours)) == b""
        assert read_response_start(service.port, authority.create_context(theirs)) == OK


def test_session_of_a_removed_ca_is_not_resumed(
    sqlite_url: str, tls: dict[str, Path], authority: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.file.read_bytes())
    with running_program(sqlite_url, **tls | {"client_ca": ca}) as service:
        context = authority.create_context(authority.issue())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with connect(service.port, context) as connection:
            session = connection.session
        replace_file(ca, Authority(tmp_path, "other").file.read_bytes())
        reload(service, "tls_reloaded")
        assert read_response_start(service.port, context, session) == b""


@pytest.mark.parametrize("broken", [b"", b"no PEM"])
def test_unusable_files_are_reported_and_the_previous_ones_stay_in_use(
    sqlite_url: str, tls: dict[str, Path], authority: Authority, broken: bytes
) -> None:
    with running_program(sqlite_url, **tls) as service:
        before = read_certificate(service.port, authority)
        replace_file(tls["tls_cert"], broken)
        entry = reload(service, "tls_reload_failed")
        assert entry["level"] == "error"
        assert "BUDKAVLE_TLS_CERT" in entry["reason"]
        assert read_certificate(service.port, authority) == before


def test_changed_files_are_loaded_without_a_signal(
    tls: dict[str, Path], authority: Authority, run: Callable[[Any], Any]
) -> None:
    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  # Neither files nor logs have an event to wait for.
            await asyncio.sleep(0.01)

    async def work() -> None:
        server_tls = ServerTls(Settings(**tls), check_seconds=0.01)
        before = server_tls._current
        running = asyncio.create_task(server_tls.run())
        replace_file(tls["tls_cert"], b"")
        with capture_logs() as lines:
            await until(lambda: bool(lines))
            assert server_tls._current is before
            replace_file(tls["tls_cert"], authority.issue("localhost").file.read_bytes())
            await until(lambda: server_tls._current is not before)
        server_tls.stop()
        await running
        # The broken file is reported once, although it was checked several times.
        assert [line["event"] for line in lines].count("tls_reload_failed") == 1

    run(work())


def test_plain_http_has_nothing_to_reload(run: Callable[[Any], Any]) -> None:
    async def work() -> None:
        server_tls = ServerTls(Settings())
        assert server_tls.context is None
        server_tls.reload()
        await server_tls.run()

    run(work())
