"""Failed cleanups are reported, and the file that restores the subscriptions is kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_tests.cleaning import clean_up
from contract_tests.target import Certificate, CheckTarget
from tests.contract_tests.answering import Answering, answering

IDS = [f"{number:08}-0000-4000-8000-000000000000" for number in range(3)]
CURRENT = [{"orgType": 1, "orgCode": 7, "entityType": 202}]


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as server:
        yield server


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "subscriptions-before.json"
    file.write_text("{}")
    return file


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    file = tmp_path / "diary"
    made = [*(f"/webmessages/{id_}" for id_ in IDS), "http://other.test/webmessages/1", "/webmessages/../v1", "/a"]
    file.write_text("".join(f"did x\nmade {path}\n" for path in [*made, *made]))
    return file


def of(server: Answering) -> CheckTarget:
    return CheckTarget(server.url, "k", certificate=Certificate("", None, ":Q2VydA==:"), system="s")


def test_messages_are_deleted_once_and_nothing_else(server: Answering, diary: Path, kept: Path) -> None:
    server.answers = {"DELETE": (204, ""), "POST": (200, "{}")}
    assert clean_up(of(server), diary, CURRENT, kept) == []
    assert [path for method, path, _ in server.came if method == "DELETE"] == [f"/webmessages/{id_}" for id_ in IDS]
    assert not kept.exists()
    assert json.loads(server.came[-1][2]) == {"systemIdentifier": "s", "abonnementer": CURRENT}


def test_undeletable_message_is_reported_and_the_others_are_deleted(server: Answering, diary: Path, kept: Path) -> None:
    server.answers = {"DELETE": (403, ""), "POST": (200, "{}")}
    (told,) = clean_up(of(server), diary, CURRENT, kept)
    assert told == f"3 messages could not be deleted, /webmessages/{IDS[0]} among them: 403"


def test_subscriptions_that_cannot_be_restored_are_kept_in_a_file(server: Answering, diary: Path, kept: Path) -> None:
    server.answers = {"DELETE": (404, ""), "POST": (400, "no more " * 1000)}
    (told,) = clean_up(of(server), diary, CURRENT, kept)
    assert f"system s did not get its subscriptions back: POST /v1/abonnement/sync with {kept} (400 no more" in told
    assert len(told) < 600
    assert kept.exists()


def test_unreachable_server_is_reported_and_called_once_for_each(diary: Path, kept: Path) -> None:
    messages, subscriptions = clean_up(CheckTarget("http://127.0.0.1:1", "k", system="s"), diary, CURRENT, kept)
    assert messages.startswith("3 messages could not be deleted")
    assert str(kept) in subscriptions
    assert kept.exists()


def test_invalid_response_does_not_prevent_the_restoration(server: Answering, diary: Path, kept: Path) -> None:
    server.answers = {"DELETE": (204, ""), "POST": (200, "{}")}
    server.silent = "DELETE"
    (told,) = clean_up(of(server), diary, CURRENT, kept)
    assert told.startswith("3 messages could not be deleted")
    assert not kept.exists()


def test_cleanup_without_changes_calls_nothing(server: Answering, tmp_path: Path, kept: Path) -> None:
    assert clean_up(CheckTarget(server.url, "k"), tmp_path / "none", [], kept) == []
    assert server.came == []
