"""Commands for many deliveries at once."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from budkavle.commands.deliveries_selection import PAGE, Action, Selection, run_action, select
from domain.audit import AuditEntry
from domain.deliveries import DeliveryState
from persistence import audit, deliveries
from persistence.database import Database
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW
from tests.processes import run_program
from tests.terminals import run_on_terminal

MANY = PAGE + 2


@pytest.fixture
def many(database_url: str) -> str:
    """Return more deliveries than a page has."""
    subscribe(database_url)
    publish(database_url, MANY)
    return database_url


def build_action(do: Any) -> Action:
    """Return a drop that `do` does."""
    return Action("drop", "dropped", lambda: NOW, "request", do, "asa")


def read_audit_entries(url: str) -> list[AuditEntry]:
    async def read(database: Database) -> list[AuditEntry]:
        page = await audit.list_page(database, after=0, limit=100, chain=SYSTEM_ID)
        return [chained.entry for _, chained in page if chained.entry.operation == "deliveries drop"]

    found: list[AuditEntry] = run_with_database(url, read)
    return found


def test_select_reads_all_pages(many: str) -> None:
    async def read(database: Database) -> list[list[str]]:
        return [[item.id for item in page] async for page in select(database, Selection(state=DeliveryState.WAITING))]

    pages = run_with_database(many, read)
    assert [len(page) for page in pages] == [PAGE, 2]
    assert [id_ for page in pages for id_ in page] == [item.id for item in list_queue(many)]


@pytest.mark.parametrize("by_id", [False, True], ids=["selection", "ids"])
def test_run_action_works_in_audited_batches(many: str, capsys: pytest.CaptureFixture[str], by_id: bool) -> None:
    what = [item.id for item in list_queue(many)] if by_id else Selection()
    sizes: list[int] = []

    async def do(database: Database, ids: list[str], entry: AuditEntry) -> set[str]:
        sizes.append(len(ids))
        return await deliveries.drop(database, ids, entry)

    result, left = run_with_database(many, lambda database: run_action(database, build_action(do), what))
    assert (result, left, sizes, list_queue(many)) == (MANY, [], [PAGE, 2], [])
    assert capsys.readouterr().err == ""
    entries = [(entry.detail, entry.request_id, entry.caller) for entry in read_audit_entries(many)]
    assert entries == [({"deliveries": number}, "request", "asa") for number in (PAGE, 2)]


def test_drop_shows_progress_on_a_terminal(many: str) -> None:
    screen = run_on_terminal(many, "deliveries", "drop", "--all", "--yes", is_redirected=True)
    assert (screen.exit_code, screen.redirected) == (0, f"{MANY} dropped, 0 unchanged\n")
    assert f"Deliveries dropped: {MANY}" in screen.text


def test_interrupted_command_is_audited_up_to_its_last_batch(many: str, run: Callable) -> None:
    class BrokenOff(Exception):
        pass

    async def do(database: Database, ids: list[str], entry: AuditEntry) -> set[str]:
        if len(ids) < PAGE:
            raise BrokenOff
        return await deliveries.drop(database, ids, entry)

    with pytest.raises(BrokenOff):
        run_with_database(many, lambda database: run_action(database, build_action(do), Selection()))
    assert len(list_queue(many)) == 2
    (entry,) = read_audit_entries(many)
    assert entry.detail == {"deliveries": PAGE}


def test_command_without_effect_is_not_audited(database_url: str) -> None:
    subscribe(database_url)
    result = run_with_database(
        database_url, lambda database: run_action(database, build_action(deliveries.drop), [SYSTEM_ID])
    )
    assert result == (0, [SYSTEM_ID])
    assert read_audit_entries(database_url) == []


def test_change_that_is_killed_at_any_line_has_its_audit_entry(database_url: str, invoke: Invoke) -> None:
    """By the commands and by the API."""
    program = (sys.executable, "-m", "tests.budkavle.kill_delivery_changes")
    result = run_program(*program, database_url=database_url, trusted_proxies="127.0.0.1")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > 20
    assert invoke(database_url, "audit", "verify").exit_code == 0
