"""Tables for people and JSON for programs, of all commands that list something."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.cells import cell_len

from budkavle.clock import now
from budkavle.commands import api_keys, audit_listing, deliveries, deliveries_pauses, deliveries_receipts, web_messages
from budkavle.commands.records import ROWS, Column, render_value
from budkavle.ids import create_id
from persistence import catalogue
from persistence.catalogue import Apply
from persistence.database import Database
from tests import catalogues
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import publish, subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW
from tests.terminals import run_on_terminal


@pytest.fixture(scope="module")
def url(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a database with two deliveries to the system Fasit, which is paused, and a key."""
    path = tmp_path_factory.mktemp("records") / "test.db"
    path.write_bytes(migrated_sqlite)
    url = f"sqlite:///{path}"
    subscribe(url)
    publish(url, 2, created=NOW)
    for arguments in (
        ("deliveries", "pause", "--system", SYSTEM_ID, "--until", "2999-12-31", "--as", "asa"),
        ("api-key", "create", "partner", "--scope", "messages.read", "--scope", "publish:8"),
    ):
        assert run_on_terminal(url, *arguments).exit_code == 0
    return url


def read_json(url: str, invoke: Invoke, *arguments: str) -> list[dict[str, Any]]:
    result = invoke(url, *arguments)
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines()]


LISTS: dict[tuple[str, ...], Sequence[Column]] = {
    ("api-key", "list"): api_keys._COLUMNS,
    ("audit", "list"): audit_listing._COLUMNS,
    ("deliveries", "list"): deliveries._COLUMNS,
    ("deliveries", "paused"): deliveries_pauses._COLUMNS,
}


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_list_prints_a_table_on_a_wide_terminal_with_all_values(
    url: str, invoke: Invoke, command: tuple[str, ...]
) -> None:
    screen = run_on_terminal(url, *command, columns=400)
    assert screen.exit_code == 0
    assert "Not shown" not in screen.text
    for record in read_json(url, invoke, *command):
        (line,) = [line for line in screen.lines if all(text in line for text in list_texts(record))]
        assert "Fasit" in line or SYSTEM_ID not in line


def list_texts(record: Mapping[str, Any]) -> list[str]:
    """Return the cells of a record that are not shortened, apart from the identity of a subscription."""
    shown = {name: value for name, value in record.items() if name not in {"orgType", "orgCode", "entityType"}}
    return [render_value(value) for value in shown.values() if not isinstance(value, dict)]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_list_never_shortens_an_id_and_names_what_it_leaves_out(
    url: str, invoke: Invoke, command: tuple[str, ...], columns: int
) -> None:
    screen = run_on_terminal(url, *command, columns=columns)
    assert max(map(cell_len, screen.lines)) <= columns
    first = screen.lines[0]
    note = " ".join(screen.lines[-3:]).partition("Not shown at this width: ")[2]
    filled = {name for record in read_json(url, invoke, *command) for name in record}
    for column in LISTS[command]:
        is_filled = column.value in filled or column.value == "systemName" or not isinstance(column.value, str)
        assert (column.heading in first) or (column.heading in note) or (not is_filled)
    for record in read_json(url, invoke, *command):
        if "Delivery" in first:
            assert record["id"] in screen.text


def test_list_prints_json_when_it_is_redirected_or_asked_to(url: str, invoke: Invoke) -> None:
    expected = invoke(url, "deliveries", "list").stdout
    assert len(expected.splitlines()) == 2
    redirected = run_on_terminal(url, "deliveries", "list", is_redirected=True, FORCE_COLOR="1")
    assert (redirected.redirected, redirected.raw) == (expected, "")
    asked = run_on_terminal(url, "deliveries", "list", "--json")
    assert asked.raw.replace("\r\n", "\n") == expected


def test_table_has_colours_unless_no_color_is_set(url: str) -> None:
    revoked = [run_on_terminal(url, "deliveries", "list", **more).raw for more in ({}, {"NO_COLOR": "1"})]
    assert ["\x1b[33m" in raw or "\x1b[31m" in raw for raw in revoked] == [True, False]
    assert "\x1b" not in run_on_terminal(url, "deliveries", "list", TERM="dumb").raw


def test_empty_list_is_named(url: str) -> None:
    assert run_on_terminal(url, "messages", "list").lines == ["No messages in doubt."]
    assert run_on_terminal(url, "messages", "list", "--json").raw == ""


def test_show_prints_a_line_for_each_value(url: str, invoke: Invoke) -> None:
    record = read_json(url, invoke, "deliveries", "list")[0]
    lines = run_on_terminal(url, "deliveries", "show", record["id"]).lines
    assert f"Delivery      {record['id']}" in lines
    assert "System        Fasit" in lines
    assert f"System id     {SYSTEM_ID}" in lines
    assert "Subscription  1/101/202" in lines
    assert "State         waiting, paused" in lines
    assert lines[-1] == "No stored attempts."


def test_pause_prints_json_when_it_is_redirected(url: str) -> None:
    arguments = ("deliveries", "pause", "--system", SYSTEM_ID, "--subscription", "1/101/202", "--as", "asa")
    screen = run_on_terminal(url, *arguments, is_redirected=True)
    assert json.loads(screen.redirected)["system"] == SYSTEM_ID
    assert run_on_terminal(url, *arguments).lines[0] == "System        Fasit"


def test_audit_verify_prints_whole_hashes_in_a_table(url: str, invoke: Invoke) -> None:
    lines = invoke(url, "audit", "verify").stdout.splitlines()
    screen = run_on_terminal(url, "audit", "verify")
    assert all(line.split()[0] in screen.text for line in lines[:-1])
    assert screen.lines[-1] == lines[-1]
    assert "Verifying the audit" in screen.text


def test_names_and_values_cannot_control_the_terminal(sqlite_url: str) -> None:
    name = "\x1b[2Jevil\u202egnp\r\n[red]å"

    async def put(database: Database) -> None:
        system = catalogues.build_system(name=name)
        await catalogue.apply(database, Apply(catalogues.build_catalogue(system), now(), create_id()))

    run_with_database(sqlite_url, put)
    screen = run_on_terminal(sqlite_url, "deliveries", "pause", "--system", SYSTEM_ID)
    assert screen.lines[0].endswith(r"\x1b[2Jevil\u202egnp\r\n[red]å")
    ascii_only = run_on_terminal(sqlite_url, "deliveries", "paused", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ascii_only.exit_code == 0


def test_long_list_is_printed_as_several_tables(sqlite_url: str) -> None:
    subscribe(sqlite_url)
    publish(sqlite_url, ROWS + 1)
    screen = run_on_terminal(sqlite_url, "deliveries", "list")
    assert sum(line.startswith("Delivery") for line in screen.lines) == 2
    assert sum(" Fasit " in line for line in screen.lines) == ROWS + 1


def test_every_value_of_a_receipt_and_a_message_has_a_column() -> None:
    receipt = {"number", "id", "eventId", "system", "webhookUrl", "state", "attempts", "created", "firstAttempt"}
    receipt |= {"lastAttempt", "status", "milliseconds", "sha256"}
    assert receipt <= {column.value for column in deliveries_receipts._COLUMNS}
    message = {"id", "state", "oepInstance", "flowInstanceId", "sent", "created", "openEMessageId", "caller"}
    message |= {"ownOpenE", "failedReadBacks", "nextReadBack"}
    assert message <= {column.value for column in web_messages._COLUMNS}


def test_config_show_and_doctor_print_tables_on_a_terminal(url: str) -> None:
    screen = run_on_terminal(url, "config", "show", BUDKAVLE_PORTT="1", BUDKAVLE_TLS_CERT="missing.pem")
    assert screen.exit_code == 1
    assert screen.lines[0].split() == ["Variable", "Origin", "Value"]
    assert max(map(cell_len, screen.lines)) <= 80
    assert "is not a setting (did you mean BUDKAVLE_PORT?)" in " ".join(screen.text.split())
    screen = run_on_terminal(url, "doctor", columns=160, BUDKAVLE_TLS_CERT="missing.pem")
    heading = next(line for line in screen.lines if line.startswith("Status"))
    assert heading.split() == ["Status", "Check", "Finding", "What", "to", "do"]
    assert any(line.split()[:2] == ["problem", "settings"] for line in screen.lines)
    assert "ok, " in screen.lines[-1]
