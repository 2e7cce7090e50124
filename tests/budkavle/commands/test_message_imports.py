"""`budkavle import web-message-sender` from a real MariaDB."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from domain.web_messages import ExternalReference, OepInstance
from persistence import web_messages as stored
from persistence.tables import metadata
from tests.budkavle.commands.message_imports import (
    COMMAND,
    ZONE,
    build_id,
    dump,
    list_audit,
    read,
    read_content,
    run,
)
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, subscribe
from tests.certificates import Authority
from tests.databases import run_with_database
from tests.factories import build_web_message
from tests.mariadb import MariaDb, OldMessage, OldService
from tests.persistence.rows import execute


def test_import_keeps_every_field_of_a_message(database_url: str, invoke: Invoke, old: OldService) -> None:
    large = bytes(range(256)) * 8192
    files = (("rapport.pdf", "application/pdf", b"%PDF-1.7"), ("bild.bin", "image/x-own", large))
    old.put(OldMessage(build_id(1), files=files))
    remarks, summary = run(invoke, database_url, old)
    assert remarks == []
    assert summary == {
        "found": 1,
        "imported": 1,
        "importedBefore": 0,
        "rejected": 0,
        "deletedThere": {"deleted": 0, "kept": 0},
        "files": 2,
        "bytes": len("Hej! Ditt ärende är klart. 🎉".encode()) + 8 + len(large),
        "remarks": [],
        "dryRun": False,
    }
    message = read(database_url, build_id(1))
    assert message is not None
    assert message.created is not None
    assert message.created.isoformat() == "2024-05-17T08:11:12.123456+00:00"
    assert message.message == "Hej! Ditt ärende är klart. 🎉"
    assert message.party_id == "81471222-5798-11e9-ae24-57fa13b361e1"
    assert message.sender_user_id == "joe01doe"
    assert (message.oep_instance, message.oep_instance_as_sent) == (OepInstance.EXTERNAL, "EXTERNAL")
    assert message.municipality_id == "2281"
    assert message.external_references == (
        ExternalReference("flowInstanceId", "1068"),
        ExternalReference("errandNumber", "A-17"),
    )
    assert [(each.file_name, each.mime_type, each.size) for each in message.attachments] == [
        ("rapport.pdf", "application/pdf", 8),
        ("bild.bin", "image/x-own", len(large)),
    ]
    assert message.attachments[1].sha256 == hashlib.sha256(large).hexdigest()
    assert read_content(database_url, message, 1) == large


def test_imported_messages_are_published_or_stored_and_raise_no_events(
    database_url: str, invoke: Invoke, old: OldService
) -> None:
    subscribe(database_url)
    mapping = "insert into web_message_events (number, org_type, org_code, entity_type) values (1, 1, 101, 202)"
    run_with_database(database_url, lambda database: execute(database, mapping))
    # A message of a caller raises an event.
    run_with_database(database_url, lambda database: stored.store(database, build_web_message()))
    assert len(list_queue(database_url)) == 1
    old.put(
        OldMessage(build_id(1)), OldMessage(build_id(2), references=(("errandNumber", "A-18"),), oep_message_id=None)
    )
    run(invoke, database_url, old)
    columns = [column.name for column in metadata.tables["web_messages"].columns]
    found = [dict(zip(columns, row, strict=True)) for row in dump(database_url, "web_messages")["web_messages"]]
    rows = {row["id"]: row for row in found}
    published, kept = rows[build_id(1)], rows[build_id(2)]
    assert (published["state"], published["open_e_message_id"], published["flow_instance_id"]) == (
        "published",
        17,
        1068,
    )
    assert published["sent"] == published["created"]
    assert (kept["state"], kept["open_e_message_id"], kept["sent"]) == ("stored", None, None)
    assert len(list_queue(database_url)) == 1
    assert len(dump(database_url, "events")["events"]) == 1


def test_import_is_idempotent_and_takes_only_what_is_new(database_url: str, invoke: Invoke, old: OldService) -> None:
    old.put(OldMessage(build_id(1)))
    run(invoke, database_url, old)
    before = dump(database_url)
    _, again = run(invoke, database_url, old)
    assert (again["imported"], again["importedBefore"]) == (0, 1)
    assert dump(database_url) == before
    old.put(OldMessage(build_id(0)), OldMessage(build_id(2)))
    _, third = run(invoke, database_url, old)
    assert (third["found"], third["imported"], third["importedBefore"]) == (3, 2, 1)
    assert read(database_url, build_id(0)) is not None


def test_message_that_was_deleted_here_is_not_imported_again(
    database_url: str, invoke: Invoke, old: OldService
) -> None:
    old.put(OldMessage(build_id(1)))
    run(invoke, database_url, old)
    run_with_database(database_url, lambda database: stored.delete(database, build_id(1)))
    _, summary = run(invoke, database_url, old)
    assert summary["imported"] == 0
    assert read(database_url, build_id(1)) is None


def test_deletions_are_not_followed_in_a_database_without_any_imported_message(
    sqlite_url: str, invoke: Invoke, old: OldService, mariadb: MariaDb
) -> None:
    old.put(OldMessage(build_id(1)))
    run(invoke, sqlite_url, old, "--delete")
    before, other = dump(sqlite_url), mariadb.create()
    for number in (2, 3):
        result = invoke(sqlite_url, *COMMAND, other.url, *ZONE, "--delete")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "has no message that was imported from web-message-sender" in result.stderr
        assert dump(sqlite_url) == before
        other.put(OldMessage(build_id(number)))


def test_message_of_an_erased_person_is_not_imported_again_but_one_that_was_rejected_is(
    database_url: str, invoke: Invoke, old: OldService
) -> None:
    old.put(OldMessage(build_id(1)), OldMessage(build_id(2), files=(("a.txt", "text/plain", b""),)))
    run(invoke, database_url, old, code=1)
    result = invoke(database_url, "person", "erase", OldMessage.party_id, "--yes")
    report = json.loads(result.stdout)
    assert report["erased"]["messages"] == 1
    assert "erase them there" in report["stays"]["replaced services"]
    run(invoke, database_url, old, "--omit-files", "--delete")
    assert [read(database_url, build_id(number)) is None for number in (1, 2)] == [True, False]


def test_message_that_was_deleted_there_is_deleted_with_delete_only(
    database_url: str, invoke: Invoke, old: OldService
) -> None:
    old.put(OldMessage(build_id(1)), OldMessage(build_id(2)))
    run(invoke, database_url, old)
    run_with_database(database_url, lambda database: stored.store(database, build_web_message(id=build_id(3))))
    old.delete(build_id(1))
    remarks, summary = run(invoke, database_url, old)
    reason = "was deleted there after it was imported"
    assert remarks == [{"id": build_id(1), "field": "id", "kind": "kept", "reason": reason}]
    assert summary["deletedThere"] == {"deleted": 0, "kept": 1}
    _, dry = run(invoke, database_url, old, "--delete", "--dry-run")
    assert dry["deletedThere"] == {"deleted": 1, "kept": 0}
    assert read(database_url, build_id(1)) is not None
    remarks, _ = run(invoke, database_url, old, "--delete")
    assert [each["kind"] for each in remarks] == ["deleted"]
    assert [read(database_url, build_id(number)) is None for number in (1, 2, 3)] == [True, False, False]
    deleted = [entry for entry in list_audit(database_url, invoke) if entry["outcome"] == "deleted"]
    assert [entry["detail"]["messageId"] for entry in deleted] == [build_id(1)]


def test_import_of_another_service_does_not_delete_messages_of_the_first(
    database_url: str, invoke: Invoke, old: OldService, mariadb: MariaDb
) -> None:
    old.put(OldMessage(build_id(1)))
    run(invoke, database_url, old)
    other = mariadb.create()
    other.put(OldMessage(build_id(2)))
    remarks, _ = run(invoke, database_url, other, "--name", "other", "--delete")
    assert remarks == []
    assert read(database_url, build_id(1)) is not None


def test_message_with_the_id_of_another_message_is_rejected(database_url: str, invoke: Invoke, old: OldService) -> None:
    mine = build_web_message(id=build_id(1))
    run_with_database(database_url, lambda database: stored.store(database, mine))
    old.put(OldMessage(build_id(1)), OldMessage(build_id(2)))
    remarks, summary = run(invoke, database_url, old, code=1)
    reason = "is the id of another message here"
    assert remarks == [{"id": build_id(1), "field": "id", "kind": "rejected", "reason": reason}]
    assert (summary["imported"], summary["rejected"]) == (1, 1)
    found = read(database_url, build_id(1))
    assert found is not None
    assert found.message == mine.message


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin"])
def test_message_whose_id_is_no_uuid_is_rejected(
    sqlite_url: str, invoke: Invoke, mariadb: MariaDb, collation: str
) -> None:
    old = mariadb.create(collation)
    old.put(OldMessage("1-1-1-1-1"), OldMessage(build_id(10).upper()))
    remarks, _ = run(invoke, sqlite_url, old, code=1)
    reason = "is not a UUID in 8-4-4-4-12 form"
    assert remarks == [{"id": "1-1-1-1-1", "field": "id", "kind": "rejected", "reason": reason}]
    assert read(sqlite_url, build_id(10)) is not None
    _, again = run(invoke, sqlite_url, old, "--delete", code=1)
    assert (again["importedBefore"], again["deletedThere"]["deleted"]) == (1, 0)


def test_references_that_the_old_service_finds_alike_are_reported(
    database_url: str, invoke: Invoke, old: OldService
) -> None:
    old.put(
        OldMessage(build_id(1), references=(("caseId", "Å-1"), ("other", "x"))),
        OldMessage(build_id(2), references=(("CaseID", "a-1"), ("other", "x"))),
        OldMessage(build_id(3), references=(("third", "B"),)),
        OldMessage(build_id(4), references=(("third", "b"),)),
    )
    remarks, _ = run(invoke, database_url, old)
    differing = "that differ in case or accents were found alike there, and are different here"
    assert remarks == [
        {"field": "external_reference.ref_key", "kind": "changed", "reason": f"CaseID: 2 {differing}"},
        {"field": "external_reference.ref_value", "kind": "changed", "reason": f"CaseID: 1 {differing}"},
        {"field": "external_reference.ref_value", "kind": "changed", "reason": f"third: 1 {differing}"},
    ]


def test_run_is_audited_with_its_options_and_numbers(database_url: str, invoke: Invoke, old: OldService) -> None:
    old.put(OldMessage(build_id(1)))
    run(invoke, database_url, old, "--municipality", "2281", "--as", "Åsa Ek")
    begun, ended = list_audit(database_url, invoke)
    assert [(each["caller"], each["outcome"]) for each in (begun, ended)] == [
        ("Åsa Ek", "begun"),
        ("Åsa Ek", "imported"),
    ]
    assert ended["operation"] == "import web-message-sender"
    assert ended["detail"]["place"] == old.place
    assert (ended["detail"]["municipality"], ended["detail"]["timeZone"]) == ("2281", "Europe/Stockholm")
    assert (ended["detail"]["imported"], begun["requestId"]) == (1, ended["requestId"])


def test_all_is_read_as_it_was_at_the_beginning_while_the_old_service_writes(
    sqlite_url: str, invoke: Invoke, old: OldService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from budkavle.message_imports.web_message_sender import WebMessageSender

    old.put(OldMessage(build_id(1), files=(("a.txt", "text/plain", b"a"),)), OldMessage(build_id(3)))
    count = WebMessageSender.count

    def count_and_change(source: WebMessageSender) -> int:
        old.put(OldMessage(build_id(2)))
        old.delete(build_id(1))
        return count(source)

    monkeypatch.setattr(WebMessageSender, "count", count_and_change)
    _, summary = run(invoke, sqlite_url, old)
    assert (summary["found"], summary["imported"], summary["files"]) == (2, 2, 1)
    monkeypatch.undo()
    _, summary = run(invoke, sqlite_url, old, "--delete")
    assert (summary["imported"], summary["deletedThere"]["deleted"]) == (1, 1)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://u:secret@h/db", "the URL must be mariadb://"),
        ("mariadb://u:secret@h", "the URL must be mariadb://"),
        ("mariadb://u:secret@h:port/db", "the URL must be mariadb://"),
        ("mariadb://u:secret@h/db?charset=latin1", "the URL must be mariadb://"),
        ("mariadb://u:secret@h/db?tls-ca=/nowhere", "the CA in /nowhere cannot be read"),
        ("mariadb://u:secret@127.0.0.1:1/db", "cannot be read"),
        ("env:NO_URL", "env:NO_URL is not set"),
    ],
)
def test_url_that_cannot_be_used_is_an_error_without_the_password(
    sqlite_url: str, invoke: Invoke, url: str, text: str
) -> None:
    result = invoke(sqlite_url, *COMMAND, url, *ZONE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert text in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize("arguments", [("import",), (*COMMAND, *ZONE, "env:OLD_DATABASE")])
def test_wrong_use_shows_no_password(sqlite_url: str, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(sqlite_url, *arguments, "mariadb://u:sec/ret@h/db")
    assert result.exit_code == 2
    assert "mariadb://…@h/db" in result.stderr
    assert "ret@" not in result.stderr


def test_tls_verifies_the_server(
    sqlite_url: str, invoke: Invoke, old: OldService, mariadb: MariaDb, tmp_path: Path
) -> None:
    result = invoke(sqlite_url, *COMMAND, f"{old.url}?tls-ca={mariadb.authority.file}", *ZONE)
    assert result.exit_code == 0, result.stderr
    for other in ("tls=yes", f"tls-ca={Authority(tmp_path).file}"):
        result = invoke(sqlite_url, *COMMAND, f"{old.url}?{other}", *ZONE)
        assert (result.exit_code, "certificate verify failed" in result.stderr) == (1, True)


def test_missing_driver_is_an_error_that_names_the_extra(
    sqlite_url: str, invoke: Invoke, old: OldService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "budkavle.message_imports.web_message_sender")
    monkeypatch.setitem(sys.modules, "pymysql", None)
    result = invoke(sqlite_url, *COMMAND, old.url, *ZONE)
    assert result.stderr == "Error: PyMySQL is not installed: pip install 'budkavle[import]'\n"


def test_other_databases_are_refused(sqlite_url: str, invoke: Invoke, old: OldService) -> None:
    old.execute_script("alter table web_message drop column municipality_id")
    result = invoke(sqlite_url, *COMMAND, old.url, *ZONE)
    assert result.stderr.endswith("not a database of WebMessageSender 3.x: web_message.municipality_id not found\n")
    old.execute_script(
        "alter table web_message add column municipality_id varchar(255);"
        "alter table attachment drop foreign key fk_attachment_web_message; alter table attachment engine=Aria"
    )
    result = invoke(sqlite_url, *COMMAND, old.url, *ZONE)
    assert result.stderr.endswith("since their engine is not InnoDB: attachment\n")


def test_time_zone_must_be_named(sqlite_url: str, invoke: Invoke, old: OldService) -> None:
    result = invoke(sqlite_url, *COMMAND, old.url)
    assert (result.exit_code, "Missing option '--time-zone'" in result.stderr) == (2, True)
    result = invoke(sqlite_url, *COMMAND, old.url, "--time-zone", "Stockholm")
    assert (result.exit_code, "is not a time zone such as Europe/Stockholm" in result.stderr) == (2, True)
