"""`budkavle person export` and `erase`."""

import asyncio
import json
import random
import re
import stat
import sys
import zipfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from budkavle.clock import now
from budkavle.person_erasure import STAYS, PersonErasure
from domain.deliveries import AttemptOutcome
from domain.message_reads import ReadCounts, build_party_subject
from domain.web_messages import ExternalReference, WebMessage
from persistence import idempotency_keys, message_reads, persons, publication_statuses
from persistence import web_messages as stored
from persistence.database import Database
from persistence.queue import claims
from tests.budkavle.commands.retained import count, list_entries
from tests.budkavle.conftest import Invoke
from tests.budkavle.kill_erasure import build_party_id
from tests.budkavle.queues import subscribe
from tests.budkavle.services import running_program
from tests.databases import run_with_database
from tests.factories import NOW, PARTY_ID, build_attachment, build_web_message, idempotency_key
from tests.persistence.queues import build_lease, build_settled, claim, publish
from tests.persistence.rows import count_rows
from tests.processes import SECONDS, run_program
from tests.terminals import run_on_terminal

OTHER_PARTY = "0f0f0f0f-5798-11e9-ae24-57fa13b361e1"
TEXT = "Kvardröjande hemlighet"
FILE = b"Hemlig bilaga\n"
CASE = (ExternalReference("flowInstanceId", "7"), ExternalReference("errand", "E-hemlig"))
OLD = now() - timedelta(minutes=5)


def build_mine(**changes: Any) -> WebMessage:
    file = build_attachment(FILE, "../Å hemlig?.txt")
    return build_web_message(message=TEXT, attachments=(file,), sender_user_id="anna", **changes)


async def put_person(database: Database) -> dict[str, str]:
    """Store messages of each state with events, deliveries, keys and reads, and others. Return the ids of messages."""
    plain, published, unknown = build_mine(), *(build_mine(external_references=CASE, created=None) for _ in range(2))
    keys = {message.id: idempotency_key(message) for message in (plain, published, unknown)}
    await stored.store(database, plain, keys[plain.id])
    for message in (published, unknown):
        await stored.begin_sending(database, message, OLD, keys[message.id])
    await stored.mark_published(database, published, 17, NOW)
    await stored.mark_unknown(database, unknown.id)
    other = build_web_message(party_id=OTHER_PARTY)
    await stored.store(database, other, idempotency_key(other))
    for identifier in (plain.id, published.id.upper()):
        await publish(database, external_id=identifier)
        [claimed] = await claim(database)
        await claims.settle(database, build_lease(), [build_settled(claimed, AttemptOutcome.PARK)])
    await publish(database, external_id=other.id)
    await publish(database, identification_type=2, identification=PARTY_ID, external_id=other.id)
    numbers = Counter({("getWebMessageById", build_party_subject(party)): 1 for party in (PARTY_ID, OTHER_PARTY)})
    await message_reads.record(database, ReadCounts("case-system", NOW, numbers), NOW, lambda: b"k" * 32)
    return {"plain": plain.id, "published": published.id, "unknown": unknown.id, "other": other.id}


@pytest.fixture
def ids(database_url: str) -> dict[str, str]:
    """Fill the database, and return the ids of the messages."""
    subscribe(database_url)
    found: dict[str, str] = run_with_database(database_url, put_person)
    return found


def test_person_export_writes_messages_files_deliveries_and_reads(
    database_url: str, ids: dict[str, str], invoke: Invoke, tmp_path: Path
) -> None:
    target = tmp_path / "export.zip"
    result = invoke(database_url, "person", "export", PARTY_ID.upper(), str(target), "--as", "Åsa")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"messages": 3, "deliveries": 3, "reads": 1, "files": 3}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as archive:
        document = json.loads(archive.read("person.json"))
        paths = [each["file"] for message in document["messages"] for each in message["attachments"]]
        assert sorted(archive.namelist()) == sorted(["person.json", *paths])
        assert {archive.read(path) for path in paths} == {FILE}
    assert all(path.startswith("attachments/") and path.endswith("-_Å_hemlig_.txt") for path in paths)
    assert document["partyId"] == PARTY_ID
    found = {message["id"]: message for message in document["messages"]}
    assert {id_: message["state"] for id_, message in found.items()} == {
        ids["plain"]: "stored",
        ids["published"]: "published",
        ids["unknown"]: "unknown",
    }
    assert {message["message"] for message in found.values()} == {TEXT}
    assert found[ids["published"]]["externalReferences"][1] == {"key": "errand", "value": "E-hemlig"}
    assert [each["event"].get("identifikation") for each in document["deliveries"]] == [None, None, PARTY_ID]
    assert [each["caller"] for each in document["reads"]] == ["case-system"]
    detail = {"messages": 3, "deliveries": 3, "reads": 1, "files": 3}
    assert list_entries(database_url) == [("person export", "Åsa", "exported", detail)]


def test_person_export_prints_the_document_without_a_file(
    database_url: str, ids: dict[str, str], invoke: Invoke
) -> None:
    result = invoke(database_url, "person", "export", PARTY_ID)
    document = json.loads(result.stdout)
    assert (result.exit_code, len(document["messages"]), document["partyId"]) == (0, 3, PARTY_ID)
    assert ids["other"] not in {message["id"] for message in document["messages"]}


def test_person_export_leaves_no_file_after_an_error(
    sqlite_url: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit cannot be written, because the entries must be signed."""
    monkeypatch.setenv("AUDIT_SECRET", "c2VjcmV0IG9mIHRoZSBhdWRpdCBpbiB0ZXN0cw==")
    assert invoke(sqlite_url, "audit", "start-signing", audit_key="env:AUDIT_SECRET").exit_code == 0
    (tmp_path / "export.zip.part").write_text("left by a killed command")
    result = invoke(sqlite_url, "person", "export", PARTY_ID, str(tmp_path / "export.zip"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert list(tmp_path.glob("export*")) == []
    too_long = invoke(sqlite_url, "person", "export", PARTY_ID, str(tmp_path / ("n" * 300)))
    assert (too_long.exit_code, too_long.stderr.count("cannot be written: File name too long")) == (1, 1)
    missing = invoke(sqlite_url, "person", "export", PARTY_ID, str(tmp_path / "no" / "export.zip"))
    assert (missing.exit_code, missing.stderr.count("No such file")) == (1, 1)
    (tmp_path / "there.zip").write_text("mine")
    assert invoke(sqlite_url, "person", "export", PARTY_ID, str(tmp_path / "there.zip")).exit_code == 2


def test_person_erase_erases_everything_but_what_must_stay(
    database_url: str, ids: dict[str, str], invoke: Invoke
) -> None:
    before = count(database_url)
    result = invoke(database_url, "person", "erase", PARTY_ID, "--yes", "--as", "Åsa")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["erased"] == {"messages": 2, "files": 2, "inDoubt": 1, "events": 3, "deliveries": 3}
    assert (report["remaining"], report["repeat"]) == ({"messages": 0, "events": 0}, False)
    assert ("deleted rows" in report["stays"]) == database_url.startswith("postgresql")
    after = count(database_url)
    gone = {"web_messages": 3, "deliveries": 3, "events": 3, "web_message_references": 3}
    assert {name: before[name] - after.get(name, 0) for name in gone} == gone
    assert "web_message_attachments" not in after
    assert "attempts" not in after
    assert after["read_keys"] == before["read_keys"]
    entries = list_entries(database_url)
    assert [(operation, caller) for operation, caller, _, _ in entries] == [("person erase", "Åsa")] * len(entries)
    assert [outcome for _, _, outcome, _ in entries] == ["begun", "erased", "erased", "erased", "completed"]
    assert entries[-1][3] == report["erased"]
    personal = [PARTY_ID, TEXT, "hemlig", "anna", *ids.values()]
    assert [word for word in personal if word in json.dumps(entries, ensure_ascii=False)] == []
    assert invoke(database_url, "audit", "verify", "--state").exit_code == 0
    assert invoke(database_url, "audit", "reads", "--party", PARTY_ID).stdout == ""
    assert invoke(database_url, "audit", "reads", "--party", OTHER_PARTY).stdout != ""
    exported = json.loads(invoke(database_url, "person", "export", PARTY_ID).stdout)
    assert [exported[name] for name in ("messages", "deliveries", "reads")] == [[], [], []]
    again = json.loads(invoke(database_url, "person", "erase", PARTY_ID, "--yes").stdout)
    assert set(again["erased"].values()) == {0}


def test_person_erase_keeps_keys_and_traces_that_prevent_a_second_publication(
    database_url: str, ids: dict[str, str], invoke: Invoke
) -> None:
    assert invoke(database_url, "person", "erase", PARTY_ID, "--yes").exit_code == 0

    async def check(database: Database) -> None:
        for name in ("published", "unknown"):
            assert await publication_statuses.has_trace(database, ids[name])
        assert (await count_rows(database))["idempotency_keys"] == 4

    run_with_database(database_url, check)


def test_person_erase_removes_the_hash_of_the_content_from_keys(database_url: str, invoke: Invoke) -> None:
    message = build_mine()
    key = idempotency_key(message)
    run_with_database(database_url, lambda database: stored.store(database, message, key))
    assert invoke(database_url, "person", "erase", PARTY_ID, "--yes").exit_code == 0
    found = run_with_database(database_url, lambda database: idempotency_keys.find(database, key))
    assert (found.message_id, found.fingerprint) == (message.id, bytes(32))


def test_person_erase_leaves_what_is_under_way_and_says_so(database_url: str, invoke: Invoke) -> None:
    message = build_mine(external_references=CASE, created=None)
    run_with_database(database_url, lambda database: stored.begin_sending(database, message, now()))
    result = invoke(database_url, "person", "erase", PARTY_ID, "--yes")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["remaining"], report["repeat"]) == (1, {"messages": 1, "events": 0}, True)
    assert list_entries(database_url)[-1][2] == "interrupted"
    run_with_database(database_url, lambda database: stored.mark_published(database, message, 17, now()))
    assert invoke(database_url, "person", "erase", PARTY_ID, "--yes").exit_code == 0
    assert "web_messages" not in count(database_url)


def test_person_erase_ends_while_callers_keep_writing(database_url: str) -> None:
    async def write(database: Database) -> None:
        while True:
            await stored.store(database, build_mine())

    async def work(database: Database) -> dict[str, Any]:
        writer = asyncio.create_task(write(database))
        try:
            async with asyncio.timeout(SECONDS):
                return await PersonErasure(database, PARTY_ID, "Åsa", now, timedelta()).run()
        finally:
            writer.cancel()
            await asyncio.wait([writer])

    run_with_database(database_url, lambda database: stored.store(database, build_mine()))
    report = run_with_database(database_url, work)
    assert report["erased"]["messages"] >= 1
    assert report["repeat"] == (report["remaining"]["messages"] > 0)


def test_person_erase_needs_a_confirmation(database_url: str, ids: dict[str, str], invoke: Invoke) -> None:
    before = count(database_url)
    result = invoke(database_url, "person", "erase", PARTY_ID)
    assert (result.exit_code, result.stderr) == (1, "Error: nothing was erased: confirm it with --yes\n")
    expected = {"messages": 3, "files": 3, "events": 3, "deliveries": 3}
    assert json.loads(result.stdout) == {"wouldErase": expected}
    assert count(database_url) == before
    assert len(ids) == 4


def test_person_erase_lets_the_next_delivery_of_a_key_go(database_url: str, invoke: Invoke) -> None:
    """The events of a case are delivered in order. The first one is about the person, the second is not."""
    subscribe(database_url)
    other = "9f1a2b3c-5798-11e9-ae24-57fa13b361e1"

    async def put(database: Database) -> None:
        for _ in range(2):
            await publish(database, external_id=other, identification_type=2, identification=PARTY_ID)
        await publish(database, external_id=other)
        assert len(await claim(database, "stopped worker")) == 2

    run_with_database(database_url, put)
    assert invoke(database_url, "person", "erase", PARTY_ID, "--yes").exit_code == 0
    assert count(database_url)["deliveries"] == 1


async def put_many(database: Database) -> None:
    """Store messages of the person between those of others, and delete some, so that SQLite moves rows."""
    chooser = random.Random(0)
    mine: list[str] = []
    for _ in range(600):
        message = build_random(chooser, is_mine=chooser.random() < 0.3)
        await stored.store(database, message)
        mine += [message.id] if message.party_id == PARTY_ID else []
        if chooser.random() < 0.2 and mine:
            await stored.delete(database, mine.pop(chooser.randrange(len(mine))))


def build_random(chooser: random.Random, *, is_mine: bool) -> WebMessage:
    word = TEXT if is_mine else "Något annat"
    references = [ExternalReference("ref", f"{word}-{chooser.random()}") for _ in range(chooser.randint(1, 5))]
    return build_web_message(
        party_id=PARTY_ID if is_mine else OTHER_PARTY,
        message=(word * 300)[: chooser.randint(20, 4000)],
        external_references=tuple(references),
    )


def test_person_erase_leaves_no_byte_in_the_files_of_sqlite(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    """Not even in rows that SQLite had moved, and not while a service uses the file."""
    run_with_database(sqlite_url, put_many)
    words = (TEXT.encode(), PARTY_ID.encode(), PARTY_ID.replace("-", "").encode())
    files = [tmp_path / f"test.db{suffix}" for suffix in ("", "-wal", "-shm")]
    with running_program(sqlite_url) as service:
        found = invoke(sqlite_url, "person", "export", PARTY_ID)
        assert len(json.loads(found.stdout)["messages"]) > 30
        assert sum(file.read_bytes().count(words[0]) for file in files) > 100
        assert invoke(sqlite_url, "person", "erase", PARTY_ID, "--yes").exit_code == 0
        assert {word: sum(file.read_bytes().count(word) for file in files) for word in words} == dict.fromkeys(words, 0)
        assert service.client.get(f"/webmessages/recipients/{OTHER_PARTY}").status_code in {200, 401}


def test_person_erase_that_is_killed_can_be_repeated(database_url: str, invoke: Invoke) -> None:
    """Once before and once after each of its transactions."""
    subscribe(database_url)
    killed = run_program(sys.executable, "-m", "tests.budkavle.kill_erasure", database_url=database_url)
    assert killed.returncode == 0, killed.stderr
    number = int(killed.stdout)
    assert number >= 10
    for each in range(1, number + 1):
        party_id = build_party_id(each)
        assert invoke(database_url, "person", "erase", party_id, "--yes").exit_code == 0
        assert (
            run_with_database(database_url, lambda database, id_=party_id: persons.list_messages(database, id_)) == []
        )
    numbers = count(database_url)
    assert [name for name in ("web_messages", "deliveries", "events") if name in numbers] == []
    assert invoke(database_url, "audit", "verify").exit_code == 0


def test_person_erase_prints_sentences_on_a_terminal(database_url: str, ids: dict[str, str]) -> None:
    would = run_on_terminal(database_url, "person", "erase", PARTY_ID)
    assert (would.exit_code, "Would be erased:" in would.text, "{" in would.text) == (1, True, False)
    assert re.search("^Messages +[1-9]", would.text, re.MULTILINE), would.text
    assert '{\n  "wouldErase": {' in run_on_terminal(database_url, "person", "erase", PARTY_ID, "--json").text
    erased = run_on_terminal(database_url, "person", "erase", PARTY_ID, "--yes")
    assert (erased.exit_code, "{" in erased.text) == (0, False)
    for heading in ("Messages", "Messages in doubt", "Files", "Events", "Deliveries"):
        assert re.search(f"^{heading} +[0-9]+", erased.text, re.MULTILINE), erased.text
    for what in STAYS:
        assert what in erased.text
