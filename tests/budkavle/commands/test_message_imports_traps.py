"""`budkavle import web-message-sender` from a MariaDB with every trap of the old service."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.attachments import MAX_ATTACHMENT_BYTES
from domain.web_messages import ExternalReference, OepInstance
from tests.budkavle.commands.message_imports import COMMAND, ZONE, build_id, dump, list_audit, read, read_all, run
from tests.budkavle.conftest import Invoke
from tests.mariadb import MariaDb, OldMessage, OldService


@pytest.fixture(scope="module")
def trapped(mariadb: MariaDb) -> OldService:
    """Return a database with a message for each trap, whose id is `build_trap_id` of the name."""
    service = mariadb.create()
    service.put(*(OldMessage(build_trap_id(name), **fields) for name, (fields, _) in TRAPS.items()))
    return service


def test_dry_run_reports_the_same_and_changes_nothing(sqlite_url: str, invoke: Invoke, trapped: OldService) -> None:
    before = dump(sqlite_url)
    planned = run(invoke, sqlite_url, trapped, "--dry-run", code=1)
    assert dump(sqlite_url) == before
    assert list_audit(sqlite_url, invoke) == []
    done = run(invoke, sqlite_url, trapped, code=1)
    assert (planned[0], planned[1] | {"dryRun": False}) == done
    assert planned[1]["dryRun"] is True


TRAPS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no-message": ({"message": None}, [("message", "changed")]),
    "no-party": ({"party_id": None}, []),
    "blank-party": ({"party_id": ""}, [("party_id", "changed")]),
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
    "unknown-municipality": ({"municipality_id": "9999"}, [("municipality_id", "changed")]),
    "case-with-zeros": ({"references": (("flowInstanceId", "007"),)}, [("external_reference[0].ref_value", "changed")]),
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
        [("attachment[0].file_name", "changed")],
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
    assert (kept["no-party"].party_id, kept["blank-party"].party_id) == (None, None)
    assert kept["instance-in-mixed-case"].oep_instance is OepInstance.INTERNAL
    assert kept["short-party"].party_id == "00000001-0001-0001-0001-000000000001"
    # As Java reads them: after the gap, and before the clocks were put back.
    assert str(kept["gap"].created) == "2024-03-31 01:30:00.000001+00:00"
    assert str(kept["repeated-hour"].created) == "2024-10-27 00:30:00.000001+00:00"
    assert [each.key for each in kept["short-and-long-keys"].external_references] == ["a", "ab", "k" * 129]
    assert kept["case-in-lower-case"].external_references == (ExternalReference("flowInstanceId", "7"),)
    assert kept["case-with-zeros"].external_references == (ExternalReference("flowInstanceId", "7"),)
    assert kept["two-cases"].flow_instance_id == 7
    assert [each.file_name for each in kept["no-file-name"].attachments] == ["", " "]
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


def test_report_that_cannot_be_written_ends_the_import(sqlite_url: str, invoke: Invoke, trapped: OldService) -> None:
    result = invoke(sqlite_url, *COMMAND, trapped.url, *ZONE, "--report", "/dev/full")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: /dev/full cannot be written: No space left on device\n"
    assert dump(sqlite_url, "imported_messages") == {"imported_messages": []}
