"""`budkavle messages delete`."""

import sys
import uuid
from typing import Any

import pytest

from domain.audit import WEB_MESSAGES
from domain.web_messages import ExternalReference, OepInstance
from persistence import audit
from persistence import web_messages as stored
from persistence.database import Database
from tests.budkavle.conftest import Invoke
from tests.databases import run_with_database
from tests.factories import NOW, build_attachment, build_web_message
from tests.persistence.rows import count_rows
from tests.processes import run_program

STORED, INTERNAL, PUBLISHED, DOUBTFUL = (str(uuid.UUID(int=number)) for number in range(1, 5))
CASE = (ExternalReference("flowInstanceId", "7"),)


@pytest.fixture
def filled(database_url: str) -> str:
    """Return a database with messages of each kind, one of them in doubt."""

    async def put(database: Database) -> None:
        await stored.store(database, build_web_message(id=STORED, attachments=(build_attachment(),)))
        await stored.store(database, build_web_message(id=INTERNAL, oep_instance=OepInstance.INTERNAL))
        for id_ in (PUBLISHED, DOUBTFUL):
            message = build_web_message(id=id_, external_references=CASE, created=None)
            await stored.begin_sending(database, message, NOW)
            if id_ == PUBLISHED:
                await stored.mark_published(database, message, 17, NOW)
        await stored.mark_unknown(database, DOUBTFUL)

    run_with_database(database_url, put)
    return database_url


def count_messages(url: str) -> int:
    numbers: dict[str, int] = run_with_database(url, count_rows)
    return numbers["web_messages"]


def list_entries(url: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    async def read(database: Database) -> list[Any]:
        return await audit.list_page(database, after=0, limit=100, chain=WEB_MESSAGES)

    entries = [each.entry for _, each in run_with_database(url, read)]
    return [(each.operation, each.caller, each.outcome, each.detail) for each in entries]


def test_messages_delete_deletes_by_ids(filled: str, invoke: Invoke) -> None:
    result = invoke(filled, "messages", "delete", STORED, PUBLISHED, "--as", "Åsa")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 deleted, 0 unchanged\n", "")
    assert count_messages(filled) == 2
    case = {"flowInstanceId": 7}
    assert list_entries(filled) == [
        ("messages delete", "Åsa", "deleted", {"messageId": STORED, "oepInstance": "external"}),
        ("messages delete", "Åsa", "deleted", {"messageId": PUBLISHED, "oepInstance": "external"} | case),
    ]


@pytest.mark.parametrize("message_id", [DOUBTFUL, str(uuid.uuid4())], ids=["in-doubt", "unknown"])
def test_messages_delete_keeps_what_is_in_doubt(filled: str, invoke: Invoke, message_id: str) -> None:
    result = invoke(filled, "messages", "delete", message_id)
    assert (result.exit_code, result.stdout) == (1, "0 deleted, 1 unchanged\n")
    assert result.stderr == f"Unknown, or in doubt:\n{message_id}\n"
    assert (count_messages(filled), list_entries(filled)) == (4, [])


@pytest.mark.parametrize(
    ("options", "detail", "number"),
    [
        (("--before", "2026-03-02"), {}, 3),
        (("--before", "2026-03-02", "--instance", "internal"), {"oepInstance": "internal"}, 1),
        (("--before", "2026-03-02", "--state", "published"), {"state": "published"}, 1),
        (("--before", "2026-03-01"), {}, 0),
    ],
    ids=str,
)
def test_messages_delete_deletes_what_matches(
    filled: str, invoke: Invoke, options: tuple[str, ...], detail: dict[str, Any], number: int
) -> None:
    result = invoke(filled, "messages", "delete", *options, "--yes", "--as", "Åsa")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{number} deleted\n", "")
    assert count_messages(filled) == 4 - number
    before = {"before": f"{options[1]}T00:00:00.000+01:00"}
    assert list_entries(filled) == [
        ("messages delete", "Åsa", "begun", before | detail),
        ("messages delete", "Åsa", "deleted", before | detail | {"messages": number}),
    ]


def test_messages_delete_needs_a_confirmation_for_a_filter(filled: str, invoke: Invoke) -> None:
    result = invoke(filled, "messages", "delete", "--instance", "external")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: 2 messages match and none was deleted: confirm it with --yes\n"
    assert (count_messages(filled), list_entries(filled)) == (4, [])


@pytest.mark.parametrize("arguments", [(), ("--yes",), (STORED, "--state", "stored", "--yes")], ids=str)
def test_messages_delete_needs_either_ids_or_a_filter(filled: str, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(filled, "messages", "delete", *arguments).exit_code == 2
    assert count_messages(filled) == 4


def test_messages_delete_that_is_killed_at_any_line_has_its_number_in_the_audit(
    database_url: str, invoke: Invoke
) -> None:
    """Another run records it later."""
    result = run_program(sys.executable, "-m", "tests.budkavle.kill_message_deletion", database_url=database_url)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > len(("begun", "deleted", "recorded"))
    assert invoke(database_url, "audit", "verify").exit_code == 0
