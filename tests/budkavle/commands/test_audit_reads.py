"""`budkavle audit reads`: which callers read the messages of a party, and how often."""

import json
from collections import Counter
from datetime import timedelta

import pytest

from domain.message_reads import ReadCounts, build_party_subject, build_reference_subject
from domain.web_messages import ExternalReference
from persistence import message_reads
from persistence.database import Database
from tests.budkavle.conftest import Invoke
from tests.databases import run_with_database
from tests.factories import NOW, PARTY_ID

HOUR = timedelta(hours=1)
GET, LIST = "getWebMessageById", "getWebMessagesByPartyId"
PARTY = build_party_subject(PARTY_ID)
REFERENCE = build_reference_subject(ExternalReference("flowInstanceId", "1068"))


@pytest.fixture
def read(database_url: str) -> str:
    """Return a database with reads of two callers, one hour apart."""

    async def record(database: Database) -> None:
        for caller, first, numbers in (
            ("case-system", NOW, {(GET, PARTY): 3, (LIST, PARTY): 1, (GET, REFERENCE): 2}),
            ("issuer#å", NOW + HOUR, {(GET, PARTY): 1}),
        ):
            counts = ReadCounts(caller, first, Counter(numbers))
            await message_reads.record(database, counts, first + HOUR / 4, lambda: b"k" * 32)

    run_with_database(database_url, record)
    return database_url


def build_line(first: str, recorded: str, caller: str, operation: str, reads: int) -> dict[str, object]:
    times = {"first": f"2026-03-01T{first}.123+00:00", "recorded": f"2026-03-01T{recorded}.123+00:00"}
    return times | {"caller": caller, "operation": operation, "reads": reads}


FIRST = [
    build_line("12:00:00", "12:15:00", "case-system", GET, 3),
    build_line("12:00:00", "12:15:00", "case-system", LIST, 1),
]
SECOND = [build_line("13:00:00", "13:15:00", "issuer#å", GET, 1)]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("--party", PARTY_ID.upper()), FIRST + SECOND),
        (("--party", PARTY_ID, "--since", "2026-03-01T12:30:00Z"), SECOND),
        (("--party", PARTY_ID, "--until", "2026-03-01T13:30:00"), FIRST),
        (("--party", "00000000-0000-4000-8000-000000000000"), []),
        (("--reference", "FLOWinstanceid", "1068"), [build_line("12:00:00", "12:15:00", "case-system", GET, 2)]),
    ],
    ids=str,
)
def test_audit_reads_prints_the_reads_of_a_subject(
    read: str, invoke: Invoke, arguments: tuple[str, ...], lines: list[dict[str, object]]
) -> None:
    result = invoke(read, "audit", "reads", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [json.loads(line) for line in result.stdout.splitlines()] == lines


def test_audit_reads_finds_nothing_after_the_key_was_destroyed(read: str, invoke: Invoke) -> None:
    run_with_database(read, lambda database: message_reads.destroy_key(database, PARTY_ID, NOW + 2 * HOUR))
    assert invoke(read, "audit", "reads", "--party", PARTY_ID).stdout == ""
    assert invoke(read, "audit", "verify").exit_code == 0
    assert invoke(read, "audit", "verify", "--state").exit_code == 0


def test_audit_list_prints_the_entries_of_reads(read: str, invoke: Invoke) -> None:
    lines = invoke(read, "audit", "list", "--system", "reads").stdout.splitlines()
    assert [json.loads(line)["caller"] for line in lines] == ["case-system", "issuer#å"]


@pytest.mark.parametrize("arguments", [(), ("--party", PARTY_ID, "--reference", "abc", "1"), ("--party", "x")], ids=str)
def test_audit_reads_needs_one_subject(database_url: str, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(database_url, "audit", "reads", *arguments).exit_code == 2
