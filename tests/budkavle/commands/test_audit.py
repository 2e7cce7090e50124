"""`budkavle audit`: list the entries, and verify that they are unchanged."""

import json
from datetime import timedelta

import pytest

from budkavle.commands.audit_listing import print_entries
from domain.audit import AuditEntry
from persistence import audit
from persistence.database import Database
from tests.budkavle.conftest import Invoke
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.rows import execute

CHAINS = ("-", "catalogue", SYSTEM_ID, OTHER_ID, SYSTEM_ID)


@pytest.fixture
def audited(database_url: str) -> str:
    """Return a database with five audit entries, one second apart."""

    async def put(database: Database) -> None:
        for second, chain in enumerate(CHAINS):
            entry = AuditEntry(
                chain=chain,
                kind="call",
                time=NOW + timedelta(seconds=second),
                operation="hentAbonnementer",
                caller="-",
                outcome="answered",
                request_id=f"request-{second}",
                detail={"name": "Å"},
            )
            await audit.record(database, entry)

    run_with_database(database_url, put)
    return database_url


def find_numbers(output: str) -> list[int]:
    """Return the numbers of the printed entries, out of the five."""
    return [int(json.loads(line)["requestId"].removeprefix("request-")) for line in output.splitlines()]


def test_audit_list_prints_one_line_per_entry_oldest_first(audited: str, invoke: Invoke) -> None:
    result = invoke(audited, "audit", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert find_numbers(result.stdout) == [0, 1, 2, 3, 4]
    last = json.loads(result.stdout.splitlines()[-1])
    assert len(last.pop("hash")) == 64
    assert last == {
        "chain": SYSTEM_ID,
        "number": 2,
        "time": "2026-03-01T12:00:04.123+00:00",
        "kind": "call",
        "operation": "hentAbonnementer",
        "caller": "-",
        "outcome": "answered",
        "requestId": "request-4",
        "detail": {"name": "Å"},
    }
    assert "Å" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--limit", "2"), [0, 1]),
        (("--limit", "100"), [0, 1, 2, 3, 4]),
        (("--system", SYSTEM_ID), [2, 4]),
        (("--system", SYSTEM_ID.upper(), "--limit", "1"), [2]),
        (("--system", "catalogue"), [1]),
        (("--system", "-"), [0]),
        (("--system", "770e8400-e29b-41d4-a716-446655440000"), []),
        (("--since", "2026-03-01T12:00:02.123Z"), [2, 3, 4]),
        # Copenhagen is one hour ahead of UTC at this time.
        (("--since", "2026-03-01T13:00:02.124"), [3, 4]),
        (("--since", "2026-03-01T07:00:03-05:00", "--system", SYSTEM_ID), [4]),
        (("--since", "2026-03-01"), [0, 1, 2, 3, 4]),
        (("--since", "2026-03-02"), []),
    ],
)
def test_audit_list_can_be_filtered(
    audited: str, invoke: Invoke, arguments: tuple[str, ...], printed: list[int]
) -> None:
    result = invoke(audited, "audit", "list", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert find_numbers(result.stdout) == printed


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("page", [1, 2, 5])
def test_audit_list_reads_page_by_page(
    audited: str, capsys: pytest.CaptureFixture[str], limit: int | None, page: int
) -> None:
    run_with_database(audited, lambda database: print_entries(database, limit, None, None, page))
    assert find_numbers(capsys.readouterr().out) == list(range(min(limit or 5, 5)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--limit", "0"),
        ("list", "--system", "Fasit"),
        ("list", "--since", "yesterday"),
        ("verify", "--head", "9f86d0"),
        ("verify", "--head", "x" * 64),
    ],
)
def test_audit_refuses_unusable_arguments(audited: str, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(audited, "audit", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_audit_verify_prints_the_head_of_each_chain(audited: str, invoke: Invoke) -> None:
    result = invoke(audited, "audit", "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    *ends, last = result.stdout.splitlines()
    assert last == "ok: 5 entries in 4 chains"
    assert [end.split(" ", 1)[1] for end in ends] == ["- 1", f"{SYSTEM_ID} 2", f"{OTHER_ID} 1", "catalogue 1"]
    listed = [json.loads(line) for line in invoke(audited, "audit", "list").stdout.splitlines()]
    assert {end.split()[0] for end in ends} == {entry["hash"] for entry in listed if entry["requestId"] != "request-2"}


def test_audit_verify_accepts_an_empty_audit(database_url: str, invoke: Invoke) -> None:
    result = invoke(database_url, "audit", "verify")
    assert (result.exit_code, result.output) == (0, "ok: 0 entries in 0 chains\n")


def test_audit_verify_accepts_stored_heads(audited: str, invoke: Invoke) -> None:
    hashes = [json.loads(line)["hash"] for line in invoke(audited, "audit", "list").stdout.splitlines()]
    options = [option for hash_ in hashes for option in ("--head", hash_.upper())]
    assert invoke(audited, "audit", "verify", *options).stdout.endswith("ok: 5 entries in 4 chains\n")
    result = invoke(audited, "audit", "verify", *options, "--head", "0" * 64, "--head", hashes[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: the audit is broken: no entry has the hash {'0' * 64}\n"


def test_audit_verify_detects_a_rewritten_chain_by_a_stored_head(audited: str, invoke: Invoke) -> None:
    head = json.loads(invoke(audited, "audit", "list", "--system", OTHER_ID).stdout)["hash"]

    async def rewrite(database: Database) -> None:
        await execute(database, f"delete from audit_entries where chain = '{OTHER_ID}'")
        await execute(database, f"delete from chains where name = '{OTHER_ID}'")
        entry = AuditEntry(OTHER_ID, "call", NOW, "hentAbonnementer", "-", "answered", "other")
        await audit.record(database, entry)

    run_with_database(audited, rewrite)
    assert invoke(audited, "audit", "verify").exit_code == 0
    assert invoke(audited, "audit", "verify", "--head", head).exit_code == 1


@pytest.mark.parametrize(
    "statement",
    [
        f"update audit_entries set outcome = 'refused' where chain = '{SYSTEM_ID}' and number = 2",
        f"delete from audit_entries where chain = '{SYSTEM_ID}' and number = 2",
    ],
    ids=["changed", "removed"],
)
def test_audit_verify_reports_the_first_broken_entry(audited: str, invoke: Invoke, statement: str) -> None:
    run_with_database(audited, lambda database: execute(database, statement))
    result = invoke(audited, "audit", "verify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: the audit is broken: entry 2 of '{SYSTEM_ID}': ")
    assert result.stderr.count("\n") == 1
