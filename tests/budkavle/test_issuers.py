"""The file of issuers: it is read again without a restart, and a faulty one changes nothing."""

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from budkavle.issuers import Issuers
from budkavle.settings import Settings, SettingsUnusable
from openapi.observation.source_limits import LINES_PER_SECOND
from tests.budkavle.services import create_plain_client, running_program
from tests.budkavle.test_tls_reload import reload, replace_file
from tests.certificates import Authority
from tests.issuers import HEADER, bear, write_issuers
from tests.oauth2.key_set_server import KeySetServer, running_key_set_server, send, send_keys
from tests.processes import budkavle, python, run_program, running
from tests.tokens import create_key_set, create_token, create_token_key, write_key_set

LIST = "/webmessages/external-references/errandNumber/A-1"
OTHER = "https://other.example"


def read_clock() -> datetime:
    return datetime.now(UTC)


def get_status(url: str, headers: dict[str, str]) -> int:
    """Return the status of a request on a new connection."""
    with create_plain_client(url, "-") as client:
        del client.headers["apikey"]
        return client.get(LIST, headers=headers).status_code


def test_sighup_reads_the_file_again(sqlite_url: str, tmp_path: Path) -> None:
    with running_program(sqlite_url, issuers=write_issuers(tmp_path)) as service:
        for_us, for_other = bear(), bear(aud=OTHER)
        assert (get_status(service.url, for_us), get_status(service.url, for_other)) == (200, 401)
        # The signal causes it: the file has not changed.
        reload(service, "issuers_reloaded")
        write_issuers(tmp_path, audience=OTHER)
        reload(service, "issuers_reloaded")
        assert (get_status(service.url, for_us), get_status(service.url, for_other)) == (401, 200)
        metadata = httpx.get(f"{service.url}/.well-known/oauth-protected-resource", trust_env=False, verify=False)
        assert metadata.json()["resource"] == OTHER


def test_sighup_reaches_every_process(sqlite_url: str, tmp_path: Path) -> None:
    path = write_issuers(tmp_path)
    command = budkavle("serve", "--port", "0", "--processes", "2")
    with running(*command, database_url=sqlite_url, issuers=path) as program:
        url = program.wait_for("Budkavle listens on ")
        assert get_status(url, bear()) == 200
        write_issuers(tmp_path, audience=OTHER)
        program.send(signal.SIGHUP)
        while sum('"issuers_reloaded"' in line for line in program.err) < 2:
            assert program.is_running
        # The kernel selects a process for each connection.
        assert {get_status(url, bear()) for _ in range(20)} == {401}
        assert {get_status(url, bear(aud=OTHER)) for _ in range(20)} == {200}


def test_changed_files_are_read_without_a_signal(tmp_path: Path, run: Callable[[Any], Any]) -> None:
    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  # Neither files nor logs have an event to wait for.
            await asyncio.sleep(0.01)

    async def work() -> None:
        path = write_issuers(tmp_path)
        issuers = Issuers(Settings(issuers=path), read_clock, check_seconds=0.01)
        before = issuers.accepted
        running = asyncio.create_task(issuers.run())
        replace_file(path, b"issuers: []\nunknown: 1\n")
        with capture_logs() as lines:
            await until(lambda: any(line["event"] == "issuers_reload_failed" for line in lines))
            assert issuers.accepted is before
            write_issuers(tmp_path, audience=OTHER)
            await until(lambda: issuers.accepted is not before)
        issuers.stop()
        await running
        # The faulty file is reported once, although it was checked several times.
        assert [line["event"] for line in lines].count("issuers_reload_failed") == 1

    run(work())


def test_faulty_file_is_reported_with_all_faults_and_changes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    path = write_issuers(tmp_path)
    with running_program(sqlite_url, issuers=path) as service:
        text = json.dumps(json.loads(path.read_text()), indent=1)
        replace_file(path, text.replace('"ES256"', '"HS256"').replace("file:jwks.json", "http://a.example").encode())
        entry = reload(service, "issuers_reload_failed")
        assert entry["level"] == "error"
        assert len(re.findall(rf"^{re.escape(str(path))}:\d+: ", entry["reason"], re.MULTILINE)) == 2
        assert get_status(service.url, bear()) == 200
        path.unlink()
        reload(service, "issuers_reload_failed")
        assert get_status(service.url, bear()) == 200


def test_unusable_keys_change_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with running_program(sqlite_url, issuers=write_issuers(tmp_path)) as service:
        (tmp_path / "other.json").write_text("{}")
        path = tmp_path / "issuers.yaml"
        replace_file(path, path.read_bytes().replace(b"jwks.json", b"other.json"))
        assert "no list of keys" in reload(service, "issuers_reload_failed")["reason"]
        # The same file of issuers has another fault now.
        (tmp_path / "other.json").write_text('{"keys": []}')
        assert "no usable key" in reload(service, "issuers_reload_failed")["reason"]
        assert get_status(service.url, bear()) == 200


def test_changed_keys_are_used_without_a_signal(sqlite_url: str, tmp_path: Path) -> None:
    new = create_token_key("ES256", "new")
    with running_program(sqlite_url, issuers=write_issuers(tmp_path)) as service:
        old_token = bear()
        assert get_status(service.url, old_token) == 200
        assert get_status(service.url, bear(create_token(new))) == 401
        write_key_set(tmp_path / "jwks.json", new)
        # A token with an unknown key causes the look at the file.
        assert get_status(service.url, bear(create_token(new))) == 200
        assert get_status(service.url, old_token) == 401


def test_keys_of_a_server_are_fetched_and_kept(
    sqlite_url: str, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, run: Callable[[Any], Any]
) -> None:
    # The issuer has a certificate of a CA of this machine.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    new = create_token_key("ES256", "new")

    def call(server: KeySetServer) -> None:
        issuers = write_issuers(tmp_path, jwks=server.url)
        with running_program(sqlite_url, issuers=issuers) as service:
            assert get_status(service.url, bear()) == 200
            assert len(server.requests) == 1
            server.respond = send_keys(create_key_set(create_token_key(), new))
            assert get_status(service.url, bear(create_token(new))) == 200
            assert len(server.requests) == 2
            server.respond = send("{}")
            for number in range(20):
                unknown = create_token(create_token_key("ES256", f"unknown-{number}"))
                assert get_status(service.url, bear(unknown)) == 401
            # Unknown keys cause one fetch in 30 seconds.
            assert len(server.requests) == 2
            assert get_status(service.url, bear(create_token(new))) == 200
            metrics = service.client.get("/metrics").text
            assert f'budkavle_key_set_failures_total{{key_set="{server.url}"}} 0.0' in metrics
            [age] = re.findall(rf'budkavle_key_set_age_seconds{{key_set="{server.url}"}} (\S+)', metrics)
            assert 0 <= float(age) < 60

    async def work() -> None:
        async with running_key_set_server(authority.issue("localhost")) as server:
            await asyncio.to_thread(call, server)

    run(work())


def test_log_lines_about_tokens_without_keys_are_bounded(sqlite_url: str, tmp_path: Path) -> None:
    """Anyone can write the name of an issuer into a token."""
    with running_program(sqlite_url, issuers=write_issuers(tmp_path, jwks="https://127.0.0.1:9/jwks.json")) as service:
        service.client.headers = bear()
        start = time.monotonic()
        for _ in range(300):
            assert service.client.get(LIST).status_code == 503
        seconds = time.monotonic() - start
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        events = Counter(json.loads(line)["event"] for line in service.process.err)
    assert events["key_set_fetch_failed"] >= 1
    assert 1 <= events["request"] <= LINES_PER_SECOND * (seconds + 2)
    assert events["request_failed"] == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"header": HEADER}, "BUDKAVLE_TRUSTED_PROXIES"),
        ({"jwks": "file:missing.json"}, "missing.json"),
    ],
)
def test_unusable_file_stops_the_start(sqlite_url: str, tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    path = write_issuers(tmp_path, **changes)
    command = budkavle("serve", "--port", "0", "--processes", "2")
    result = run_program(*command, database_url=sqlite_url, issuers=path)
    assert result.returncode == 1
    assert "BUDKAVLE_ISSUERS" in result.stderr
    assert text in result.stderr
    with pytest.raises(SettingsUnusable, match=text):
        Issuers(Settings(issuers=path), read_clock)


def test_without_the_setting_nothing_is_read(run: Callable[[Any], Any]) -> None:
    async def work() -> None:
        issuers = Issuers(Settings(), read_clock)
        issuers.reload()
        issuers.start_fetches()
        await issuers.run()
        issuers.stop_fetches()
        assert issuers.get_accepted() is None

    run(work())


def test_service_without_issuers_does_not_load_joserfc(sqlite_url: str) -> None:
    """Loading it would delay each start."""
    code = "import sys, budkavle.commands.run; sys.exit('joserfc' in sys.modules)"
    assert run_program(*python(code), database_url=sqlite_url).returncode == 0
