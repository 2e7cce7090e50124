"""`budkavle import web-message-sender`: ids that collations treat differently, and imports that run concurrently."""

import asyncio

import pytest

from budkavle.message_imports.web_message_sender import WebMessageSender
from tests.budkavle.commands.message_imports import build_id, read, read_all, read_content, run
from tests.budkavle.conftest import Invoke
from tests.budkavle.kill_message_imports import import_all
from tests.mariadb import MariaDb, OldMessage, OldService

UPPER = build_id(10).upper()
OTHER = build_id(11).upper()


def mix_case(id_: str) -> str:
    return id_[:5].upper() + id_[5:].lower()


def test_one_of_the_messages_whose_ids_differ_in_case_only_is_imported(
    database_url: str, invoke: Invoke, mariadb: MariaDb
) -> None:
    old = mariadb.create("utf8mb4_bin")
    ids = UPPER, mix_case(UPPER), UPPER.lower(), OTHER, mix_case(OTHER)
    old.put(*(OldMessage(id_, message=id_) for id_ in ids))
    reason = "is the id of another message in other case"
    rejected = UPPER, OTHER, mix_case(UPPER)
    expected = [{"id": id_, "field": "id", "kind": "rejected", "reason": reason} for id_ in rejected]
    for imported in (2, 0):
        remarks, summary = run(invoke, database_url, old, "--delete", code=1)
        assert remarks == expected
        assert (summary["imported"], summary["importedBefore"], summary["rejected"]) == (imported, 2 - imported, 3)
    messages = read_all(database_url, [UPPER.lower(), OTHER.lower()])
    assert [each.message for each in messages.values()] == [UPPER.lower(), mix_case(OTHER)]


def test_message_whose_id_is_in_mixed_case_is_not_deleted(sqlite_url: str, invoke: Invoke, mariadb: MariaDb) -> None:
    old = mariadb.create("utf8mb4_bin")
    old.put(OldMessage(mix_case(UPPER)))
    run(invoke, sqlite_url, old)
    remarks, _ = run(invoke, sqlite_url, old, "--delete")
    assert remarks == []
    assert read(sqlite_url, UPPER.lower()) is not None


def test_references_and_files_with_the_id_of_their_message_in_other_case_are_imported(
    sqlite_url: str, invoke: Invoke, old: OldService
) -> None:
    old.put(OldMessage(UPPER, files=(("a.txt", "text/plain", b"a"),)))
    for table in ("external_reference", "attachment"):
        old.execute_script(f"update {table} set parent_id = lower(parent_id)")
    run(invoke, sqlite_url, old)
    message = read(sqlite_url, UPPER.lower())
    assert message is not None
    assert message.flow_instance_id == 1068
    assert read_content(sqlite_url, message, 0) == b"a"


def test_every_id_that_is_no_uuid_is_reported(sqlite_url: str, invoke: Invoke, old: OldService) -> None:
    ids = {"", "\x01", "a'\\b", "%s", "🎉", f" {build_id(1)}"}
    old.put(OldMessage(build_id(1)), *map(OldMessage, sorted(ids)))
    remarks, summary = run(invoke, sqlite_url, old, code=1)
    assert {each.get("id", "") for each in remarks} == ids
    assert (summary["found"], summary["imported"], summary["rejected"]) == (len(ids) + 1, 1, len(ids))


def test_import_deletes_no_message_that_is_newer_than_its_snapshot(
    database_url: str, invoke: Invoke, old: OldService, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = WebMessageSender.count

    def count_after_another_import(source: WebMessageSender) -> int:
        monkeypatch.undo()
        old.put(OldMessage(build_id(2)))
        asyncio.run(import_all(database_url, old.url))
        return count(source)

    old.put(OldMessage(build_id(1)))
    monkeypatch.setattr(WebMessageSender, "count", count_after_another_import)
    remarks, summary = run(invoke, database_url, old, "--delete")
    assert remarks == []
    assert (summary["found"], summary["importedBefore"]) == (1, 1)
    assert read(database_url, build_id(2)) is not None
