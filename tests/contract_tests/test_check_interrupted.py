"""A check that is interrupted, or loses a process, cleans up and reports it."""

import os
import pty
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.contract_tests.checking import Server
from tests.databases import run_with_database
from tests.persistence.rows import count_rows
from tests.processes import build_environment

BEFORE = {"orgType": 1, "orgCode": 7, "entityType": 202, "webhookUrl": "/a", "startDato": "2024-03-01T00:00:00+01:00"}
SECONDS = 60


class OnATerminal:
    """The command with its standard error on a terminal, where the progress shows the current step."""

    def __init__(self, server: Server, folder: Path, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            server.command(folder, *options), cwd=folder, env=build_environment(), stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        self.shown = b""

    def wait_for(self, words: bytes) -> None:
        while words not in self.shown:
            self.read()

    def read(self) -> None:
        """Return the next output."""
        self.shown += os.read(self._ours, 65536)

    def suite(self) -> psutil.Process:
        """Return the process of a running suite."""
        return psutil.Process(self.process.pid).children()[0]

    def end(self) -> tuple[int, str]:
        """Return its exit code and its standard output."""
        out, _ = self.process.communicate(timeout=SECONDS)
        os.close(self._ours)
        return self.process.returncode, out.decode()


def assert_unchanged(server: Server) -> None:
    left = run_with_database(server.database_url, count_rows)
    assert not {"web_messages", "deliveries"} & set(left)
    with server.api() as api:
        assert [{name: entry[name] for name in BEFORE} for entry in api.subscriptions()] == [BEFORE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_check_cleans_up(number: signal.Signals, server: Server, tmp_path: Path) -> None:
    with server.api() as api:
        api.subscribe(BEFORE)
    check = OnATerminal(server, tmp_path, "--suite", "schema")
    check.wait_for(b"POST /webmessages")
    # Reading its output meanwhile would wait for the next step, and perhaps for the end.
    while "web_messages" not in run_with_database(server.database_url, count_rows):
        assert check.process.poll() is None
    suite = check.suite()

    check.process.send_signal(number)
    code, out = check.end()

    assert code == 130
    assert "was interrupted" in out
    assert "not cleaned up" not in out
    assert not suite.is_running()
    assert_unchanged(server)
    assert not (tmp_path / "report" / "subscriptions-before.json").exists()


@pytest.mark.parametrize(
    "how", [["--suite", "rules", "--spec", "subscriptions"], ["--suite", "schema", "--spec", "subscriptions"]]
)
def test_killed_suite_is_reported_and_cleaned_up(how: list[str], server: Server, tmp_path: Path) -> None:
    with server.api() as api:
        api.subscribe(BEFORE)
    check = OnATerminal(server, tmp_path, *how)
    check.wait_for(b"/v1/abonnement" if "schema" in how else b"test_event")
    assert (tmp_path / "report" / "subscriptions-before.json").exists()
    check.suite().kill()
    code, out = check.end()

    assert code == 2
    assert "was NOT CHECKED to the end" in out
    assert f"ended with -9; see {tmp_path / 'report'}" in out
    assert_unchanged(server)
