"""Systems from which a check would remove something that it cannot restore: it leaves them unchanged, or reports it."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from contract_tests.api import SYNC
from contract_tests.check import BEFORE
from contract_tests.suites import Check
from persistence.tables import subscriptions
from tests.catalogue_rows import ALLOWED, ENDED, ORG_TYPE, execute, put_parked_message
from tests.contract_tests.broken_server import Forward, Request, ServerResponse
from tests.contract_tests.checking import SYSTEM, Server
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.rows import count_rows


def put_subscription(server: Server, entity_type: int = ALLOWED, end: datetime | None = None) -> None:
    values = {"org_type": ORG_TYPE, "org_code": 101, "entity_type": entity_type, "start_time": NOW, "end_time": end}
    insert = subscriptions.insert().values(system_id=SYSTEM, webhook_url="/webhook", **values)
    execute(server.database_url, insert)


def assert_untouched(server: Server, folder: Path, words: str) -> None:
    with server.api() as api:
        before, waiting = api.subscriptions(), api.deliveries()
        result = server.check(folder, "--spec", "subscriptions")
        assert result.returncode == 2, result.stdout + result.stderr
        assert words in result.stderr
        assert (api.subscriptions(), api.deliveries()) == (before, waiting)


def test_system_with_waiting_messages_is_left_unchanged(server: Server, tmp_path: Path) -> None:
    put_parked_message(server.database_url, SYSTEM, (ORG_TYPE, 101, ALLOWED), "3e4f4c1e-5798-41e9-ae24-57fa13b361e1")
    assert_untouched(server, tmp_path, "messages wait for system")
    assert run_with_database(server.database_url, count_rows)["deliveries"] == 1


@pytest.mark.parametrize(("entity_type", "end"), [(ENDED, None), (ALLOWED, NOW)], ids=["type", "subscription"])
def test_system_with_irrestorable_subscriptions_is_left_unchanged(
    entity_type: int, end: datetime | None, server: Server, tmp_path: Path
) -> None:
    """A subscription to an ended type remains until it is removed; it cannot be created again."""
    put_subscription(server, entity_type, end)
    assert_untouched(server, tmp_path, "could not be given its subscriptions back")


async def refuse_restoration(request: Request, forward: Forward) -> ServerResponse:
    """Refuse the subscription that the system had, but not a dry run of it."""
    is_back = request.path == SYNC and b'"orgCode": 101,' in request.body and not request.query
    return await forward(request.with_json({}) if is_back else request)


@pytest.mark.parametrize("breakage", [refuse_restoration])
def test_failed_restoration_is_reported_by_the_exit_code_too(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_subscription(server)
    # The restoration is the same after one check as after all of them.
    only = "test_subscription_types.py::test_allowed_types_can_be_subscribed_to"
    code = run_check(
        Check(server.target(), find_spec_dir(), tmp_path / "report", ("subscriptions",), kinds=("rules",), only=(only,))
    )
    printed = capsys.readouterr().out
    assert code == 2, printed
    assert "keeps the contract: 1 checks" in printed
    assert f"not cleaned up: system {SYSTEM} did not get its subscriptions back" in printed
    (restorable,) = json.loads((tmp_path / "report" / BEFORE).read_text())["abonnementer"]
    assert restorable["orgCode"] == 101
