"""Failed cleanups are reported, and the file that restores the subscriptions is kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_tests.cleaning import clean_up
from contract_tests.target import Certificate, CheckTarget
from tests.contract_tests.stub_server import StubServer, running_stub

IDS = [f"{number:08}-0000-4000-8000-000000000000" for number in range(3)]
CURRENT = [{"orgType": 1, "orgCode": 7, "entityType": 202}]


@pytest.fixture
def server() -> Iterator[StubServer]:
    with running_stub() as server:
        yield server


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    file = tmp_path / "subscriptions-before.json"
    file.write_text("{}")
    return file


@pytest.fixture
def run_record(tmp_path: Path) -> Path:
    file = tmp_path / "run_record"
    paths = [*(f"/webmessages/{id_}" for id_ in IDS), "http://other.test/webmessages/1", "/webmessages/../v1", "/a"]
    file.write_text("".join(f"did x\nmade {path}\n" for path in [*paths, *paths]))
    return file


def build_target(server: StubServer) -> CheckTarget:
    return CheckTarget(server.url, "k", certificate=Certificate("", None, ":Q2VydA==:"), system="s")


def test_messages_are_deleted_once_and_nothing_else(server: StubServer, run_record: Path, backup: Path) -> None:
    server.responses = {"DELETE": (204, ""), "POST": (200, "{}")}
    assert clean_up(build_target(server), run_record, CURRENT, backup) == []
    assert [path for method, path, _ in server.requests if method == "DELETE"] == [f"/webmessages/{id_}" for id_ in IDS]
    assert not backup.exists()
    assert json.loads(server.requests[-1][2]) == {"systemIdentifier": "s", "abonnementer": CURRENT}


def test_undeletable_message_is_reported_and_the_others_are_deleted(
    server: StubServer, run_record: Path, backup: Path
) -> None:
    server.responses = {"DELETE": (403, ""), "POST": (200, "{}")}
    (report,) = clean_up(build_target(server), run_record, CURRENT, backup)
    assert report == f"3 messages could not be deleted, /webmessages/{IDS[0]} among them: 403"


def test_subscriptions_that_cannot_be_restored_are_kept_in_a_file(
    server: StubServer, run_record: Path, backup: Path
) -> None:
    server.responses = {"DELETE": (404, ""), "POST": (400, "no more " * 1000)}
    (report,) = clean_up(build_target(server), run_record, CURRENT, backup)
    assert f"system s did not get its subscriptions back: POST /v1/abonnement/sync with {backup} (400 no more" in report
    assert len(report) < 600
    assert backup.exists()


def test_unreachable_server_is_reported_and_called_once_for_each(run_record: Path, backup: Path) -> None:
    messages, subscriptions = clean_up(CheckTarget("http://127.0.0.1:1", "k", system="s"), run_record, CURRENT, backup)
    assert messages.startswith("3 messages could not be deleted")
    assert str(backup) in subscriptions
    assert backup.exists()


def test_invalid_response_does_not_prevent_the_restoration(server: StubServer, run_record: Path, backup: Path) -> None:
    server.responses = {"DELETE": (204, ""), "POST": (200, "{}")}
    server.silent = "DELETE"
    (report,) = clean_up(build_target(server), run_record, CURRENT, backup)
    assert report.startswith("3 messages could not be deleted")
    assert not backup.exists()


def test_cleanup_without_changes_calls_nothing(server: StubServer, tmp_path: Path, backup: Path) -> None:
    assert clean_up(CheckTarget(server.url, "k"), tmp_path / "none", [], backup) == []
    assert server.requests == []
