"""Reads of web messages over HTTP are counted for the audit if the settings say so, and recorded at the shutdown."""

import uuid

import pytest

from conftest import running_service
from domain.audit import READS
from domain.message_reads import build_party_subject, build_reference_subject
from domain.web_messages import ExternalReference
from persistence import audit, message_reads
from tests.databases import run_with_database
from tests.handlers.messages import UNKNOWN_ID, get_message, post_message

FILE = {"fileName": "hello.txt", "base64Data": "SGVsbG8K"}
COUNTED = {"audit_read_minutes": 60}


def list_numbers(url: str, subject: str) -> dict[str, int]:
    """Return the recorded reads of a subject by the caller `tests`, by operation."""
    found = run_with_database(url, lambda database: message_reads.list_recorded(database, subject))
    assert {reads.caller for reads in found} <= {"tests"}
    return {reads.operation: reads.number for reads in found}


@pytest.fixture
def party_id() -> str:
    return str(uuid.uuid4())


def test_each_read_is_counted_for_the_party_of_its_messages(database_url: str, party_id: str) -> None:
    reference = {"key": "errandNumber", "value": party_id}
    with running_service(database_url=database_url, **COUNTED) as running:
        first, _ = (
            post_message(running, partyId=party_id, externalReferences=[reference], attachments=[FILE])
            for _ in range(2)
        )
        alone = post_message(running, partyId=None, externalReferences=[reference])
        for _ in range(3):
            attachment_id = get_message(running, first)["attachments"][0]["id"]
        get_message(running, alone)
        for path in (
            f"/webmessages/{first.upper()}/attachments/{attachment_id}",
            f"/webmessages/recipients/{party_id}",
            f"/webmessages/recipients/{party_id}?limit=1",
            f"/webmessages/external-references/errandNumber/{party_id}",
        ):
            assert running.client.get(path).status_code == 200
    assert list_numbers(database_url, build_party_subject(party_id)) == {
        "getWebMessageById": 3,
        "getWebMessageAttachment": 1,
        "getWebMessagesByPartyId": 2,
        "getWebMessagesByExternalReference": 1,
    }
    subject = build_reference_subject(ExternalReference("errandNumber", party_id))
    assert list_numbers(database_url, subject) == {"getWebMessageById": 1, "getWebMessagesByExternalReference": 1}
    entries = run_with_database(database_url, lambda database: audit.list_page(database, after=0, limit=9, chain=READS))
    assert len(entries) == 1
    assert party_id not in str(entries)


def test_only_returned_messages_are_counted(database_url: str, party_id: str) -> None:
    """Neither those of the next page, nor look-ups that find nothing, nor writes."""
    other = str(uuid.uuid4())
    reference = {"key": "errandNumber", "value": party_id}
    with running_service(database_url=database_url, **COUNTED) as running:
        ids = [post_message(running, partyId=each, externalReferences=[reference]) for each in (party_id, other)]
        for path, status in (
            (f"/webmessages/external-references/errandNumber/{party_id}?limit=1", 200),
            (f"/webmessages/recipients/{UNKNOWN_ID}", 200),
            (f"/webmessages/{UNKNOWN_ID}", 404),
            (f"/webmessages/{ids[1]}/attachments/{UNKNOWN_ID}", 404),
            ("/webmessages/x", 400),
        ):
            assert running.client.get(path).status_code == status
        assert running.client.delete(f"/webmessages/{ids[1]}").status_code == 204
    assert list_numbers(database_url, build_party_subject(party_id)) == {"getWebMessagesByExternalReference": 1}
    assert list_numbers(database_url, build_party_subject(other)) == {}
    assert list_numbers(database_url, build_party_subject(UNKNOWN_ID)) == {}


def test_long_list_counts_each_party_once(database_url: str, party_id: str) -> None:
    with running_service(database_url=database_url, **COUNTED) as running:
        for _ in range(5):
            post_message(running, partyId=party_id, message="x" * 200_000)
        assert len(running.client.get(f"/webmessages/recipients/{party_id}").json()) == 5
    assert list_numbers(database_url, build_party_subject(party_id)) == {"getWebMessagesByPartyId": 1}


def test_reads_are_not_recorded_by_default(database_url: str, party_id: str) -> None:
    with running_service(database_url=database_url) as running:
        get_message(running, post_message(running, partyId=party_id))
    assert list_numbers(database_url, build_party_subject(party_id)) == {}
