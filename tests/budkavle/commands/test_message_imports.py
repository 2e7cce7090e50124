"""`budkavle import web-message-sender`, from a real MariaDB with every trap of the old service."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain.attachments import MAX_ATTACHMENT_BYTES
from domain.errors import NotFound
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from persistence import web_messages as stored
from persistence.database import Database
from persistence.tables import metadata
from persistence.work import short_read
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, subscribe
from tests.databases import run_with_database
from tests.factories import build_web_message
from tests.mariadb import MariaDb, OldMessage, OldService
from tests.persistence.rows import execute

COMMAND = ("import", "web-message-sender")
ZONE = ("--time-zone", "Europe/Stockholm")


@pytest.fixture(scope="module")
def trapped(mariadb: MariaDb) -> OldService:
    """Return a database with a message for each trap, whose id is `build_trap_id` of the name."""
    service = mariadb.create()
    service.put(*(OldMessage(build_trap_id(name), **fields) for name, (fields, _) in TRAPS.items()))
    return service


def build_id(number: int) -> str:
    return f"f0882f1d-06bc-47fd-b017-{number:012x}"


def run(invoke: Invoke, url: str, old: OldService, *options: str, code: int = 0) -> tuple[list[dict[str, Any]], Any]:
    """Run an import, and return its remarks and its summary."""
    result = invoke(url, *COMMAND, old.url, *ZONE, *options)
    assert (result.exit_code, result.stderr) == (code, ""), result.output
    *remarks, summary = map(json.loads, result.stdout.splitlines())
    return remarks, summary


def read(url: str, message_id: str) -> WebMessage | None:
    """Return a message, or None."""
    return read_all(url, [message_id]).get(message_id)


def read_all(url: str, message_ids: Iterable[str]) -> dict[str, WebMessage]:
    """Return the messages that exist, by id."""

    async def work(database: Database) -> dict[str, WebMessage]:
        found = {}
        for message_id in message_ids:
            with suppress(NotFound):
                found[message_id] = await stored.get(database, message_id)
        return found

    messages: dict[str, WebMessage] = run_with_database(url, work)
    return messages


def read_content(url: str, message: WebMessage, number: int) -> bytes:
    async def work(database: Database) -> bytes:
        pieces = stored.read_attachment(database, message.attachments[number])
        return b"".join([piece async for piece in pieces])

    content: bytes = run_with_database(url, work)
    return content


def dump(url: str, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the tables that an import writes, except the audit, in order."""
    names = tables or (
        "imported_messages",
        "web_message_attachments",
        "web_message_references",
        "web_messages",
        "events",
    )

    def read_rows(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            name: sorted((tuple(row) for row in connection.execute(metadata.tables[name].select())), key=repr)
            for name in names
        }

    rows: dict[str, list[tuple[Any, ...]]] = run_with_database(
        url, lambda database: database.read(short_read(read_rows))
    )
    return rows


def list_audit(url: str, invoke: Invoke) -> list[dict[str, Any]]:
    return [json.loads(line) for line in invoke(url, "audit", "list").stdout.splitlines()]


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


def test_dry_run_reports_the_same_and_changes_nothing(sqlite_url: str, invoke: Invoke, trapped: OldService) -> None:
    before = dump(sqlite_url)
    planned = run(invoke, sqlite_url, trapped, "--dry-run", code=1)
    assert dump(sqlite_url) == before
    assert list_audit(sqlite_url, invoke) == []
    done = run(invoke, sqlite_url, trapped, code=1)
    assert (planned[0], planned[1] | {"dryRun": False}) == done
    assert planned[1]["dryRun"] is True


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


TRAPS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no-message": ({"message": None}, [("message", "changed")]),
    "no-party": ({"party_id": None}, []),
    "no-instance": ({"oep_instance": None}, [("oep_instance", "rejected")]),
    "no-municipality": ({"municipality_id": None}, [("municipality_id", "rejected")]),
    "blank-instance-and-municipality": (
        {"oep_instance": " ", "municipality_id": ""},
        [("municipality_id", "rejected"), ("oep_instance", "rejected")],
    ),
    "instance-in-mixed-case": ({"oep_instance": "inTernal"}, []),
    "unknown-instance": ({"oep_instance": "both"}, [("oep_instance", "rejected")]),
    "short-party": ({"party_id": "1-1-1-1-1"}, [("party_id", "changed")]),
    "no-uuid-as-party": ({"party_id": "199001012385"}, [("party_id", "rejected")]),
    "no-created": ({"created": None}, [("created", "rejected")]),
    "zero-created": ({"created": "0000-00-00 00:00:00"}, [("created", "rejected")]),
    "gap": ({"created": "2024-03-31 02:30:00.000001"}, [("created", "changed")]),
    "repeated-hour": ({"created": "2024-10-27 02:30:00.000001"}, [("created", "changed")]),
    "no-references": ({"references": ()}, [("external_reference", "rejected")]),
    "null-reference": ({"references": (("key", None),)}, [("external_reference[0]", "rejected")]),
    "short-and-long-keys": (
        {"references": (("a", "1"), ("ab", "2"), ("k" * 129, "3"))},
        [(f"external_reference[{number}].ref_key", "changed") for number in range(3)],
    ),
    "empty-and-long-value": (
        {"references": (("key", ""), ("key", "v" * 129))},
        [(f"external_reference[{number}].ref_value", "changed") for number in range(2)],
    ),
    "endless-reference": (
        {"references": (("å" * 1000, "ä" * 1000),)},
        [
            ("external_reference[0]", "rejected"),
            ("external_reference[0].ref_key", "changed"),
            ("external_reference[0].ref_value", "changed"),
        ],
    ),
    "case-in-lower-case": ({"references": (("flowinstanceid", "7"),)}, []),
    "two-cases": (
        {"references": (("flowInstanceId", "7"), ("flowInstanceId", "8"))},
        [("external_reference", "changed")],
    ),
    "no-case-number": (
        {"references": (("flowInstanceId", "4294967296"),)},
        [("external_reference[0].ref_value", "rejected")],
    ),
    "nul-in-text": ({"message": "a\0b"}, [("message", "rejected")]),
    "nul-elsewhere": (
        {"sender_user_id": "a\0", "references": (("k\0y", "v"),)},
        [("external_reference[0].ref_key", "rejected"), ("sender_user_id", "rejected")],
    ),
    "no-file-name": (
        {"files": ((None, "text/plain", b"a"), (" ", "text/plain", b"b"))},
        [("attachment[0].file_name", "changed"), ("attachment[1].file_name", "changed")],
    ),
    "no-media-type": (
        {"files": (("a.pdf", None, b"%PDF-1.7"), ("b.txt", "text/plain\r\nX-Own: 1", b"b"))},
        [("attachment[0].mime_type", "changed"), ("attachment[1].mime_type", "changed")],
    ),
    "large-file": (
        {"files": (("a.bin", "image/png", bytes(MAX_ATTACHMENT_BYTES + 1)), ("b.txt", "text/plain", b"b"))},
        [("attachment[0]", "rejected")],
    ),
    "empty-files": (
        {"files": (("a.txt", "text/plain", b""), ("b.txt", "text/plain", None))},
        [("attachment[0]", "rejected"), ("attachment[1]", "rejected")],
    ),
    "eleven-files": (
        {"files": tuple((f"{number}.txt", "text/plain", b"a") for number in range(11))},
        [("attachment[10]", "rejected")],
    ),
}
"""Fields of a message, and the fields and kinds of its remarks."""


def build_trap_id(name: str) -> str:
    return build_id(list(TRAPS).index(name))


def test_every_trap_is_reported_and_taken_unless_it_is_rejected(
    database_url: str, invoke: Invoke, trapped: OldService
) -> None:
    remarks, summary = run(invoke, database_url, trapped, code=1)
    found = {
        name: sorted((each["field"], each["kind"]) for each in remarks if each["id"] == build_trap_id(name))
        for name in TRAPS
    }
    expected = {name: sorted(remarks) for name, (_, remarks) in TRAPS.items()}
    assert found == expected
    taken = {name for name, pairs in expected.items() if all(kind != "rejected" for _, kind in pairs)}
    messages = read_all(database_url, [build_trap_id(name) for name in TRAPS])
    kept = {name: messages[build_trap_id(name)] for name in TRAPS if build_trap_id(name) in messages}
    assert set(kept) == taken
    assert (summary["imported"], summary["rejected"]) == (len(taken), len(expected) - len(taken))
    assert sum(each["number"] for each in summary["remarks"]) == len(remarks)

    assert kept["no-message"].message == ""
    assert kept["no-party"].party_id is None
    assert kept["instance-in-mixed-case"].oep_instance is OepInstance.INTERNAL
    assert kept["short-party"].party_id == "00000001-0001-0001-0001-000000000001"
    # As Java reads them: after the gap, and before the clocks were put back.
    assert str(kept["gap"].created) == "2024-03-31 01:30:00.000001+00:00"
    assert str(kept["repeated-hour"].created) == "2024-10-27 00:30:00.000001+00:00"
    assert [each.key for each in kept["short-and-long-keys"].external_references] == ["a", "ab", "k" * 129]
    assert kept["case-in-lower-case"].external_references == (ExternalReference("flowInstanceId", "7"),)
    assert kept["two-cases"].flow_instance_id == 7
    assert [each.file_name for each in kept["no-file-name"].attachments] == ["attachment-1", "attachment-2"]
    assert [each.mime_type for each in kept["no-media-type"].attachments] == ["application/pdf", "text/plain"]


def test_options_decide_what_rows_without_values_get(sqlite_url: str, invoke: Invoke, trapped: OldService) -> None:
    run(invoke, sqlite_url, trapped, "--municipality", "2262", "--instance", "internal", "--omit-files", code=1)
    without = read(sqlite_url, build_trap_id("blank-instance-and-municipality"))
    assert without is not None
    assert (without.oep_instance, without.municipality_id) == (OepInstance.INTERNAL, "2262")
    null = read(sqlite_url, build_trap_id("no-instance"))
    assert null is not None
    assert (null.oep_instance, null.oep_instance_as_sent) == (OepInstance.INTERNAL, "")
    messages = {name: read(sqlite_url, build_trap_id(name)) for name in ("large-file", "empty-files", "eleven-files")}
    assert {
        name: [file.file_name for file in message.attachments] for name, message in messages.items() if message
    } == {
        "large-file": ["b.txt"],
        "empty-files": [],
        "eleven-files": [f"{number}.txt" for number in range(10)],
    }


def test_message_whose_id_is_no_uuid_is_rejected(sqlite_url: str, invoke: Invoke, old: OldService) -> None:
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


def test_report_is_appended_to_a_private_file_without_content(
    sqlite_url: str, invoke: Invoke, trapped: OldService, tmp_path: Path
) -> None:
    file = tmp_path / "report.jsonl"
    printed, _ = run(invoke, sqlite_url, trapped, "--dry-run", code=1)
    for times in (1, 2):
        remarks, _ = run(invoke, sqlite_url, trapped, "--dry-run", "--report", str(file), code=1)
        assert remarks == []
        assert list(map(json.loads, file.read_text().splitlines())) == printed * times
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ärende" not in file.read_text()


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

    old.put(OldMessage(build_id(1), files=(("a.txt", "text/plain", b"a"),)))
    count = WebMessageSender.count

    def count_and_change(source: WebMessageSender) -> int:
        old.put(OldMessage(build_id(2)))
        old.delete(build_id(1))
        return count(source)

    monkeypatch.setattr(WebMessageSender, "count", count_and_change)
    _, summary = run(invoke, sqlite_url, old)
    assert (summary["found"], summary["imported"], summary["files"]) == (1, 1, 1)
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
