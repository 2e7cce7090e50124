"""The name of the operator in the audit: every command that changes something records it."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from budkavle.commands.cli import main
from budkavle.commands.operators import get_operator
from domain.audit import NO_CALLER
from tests.budkavle.catalogue.catalogue_files import write
from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.commands.test_web_messages import put_in_doubt, to_case
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.catalogues import SYSTEM_ID

NAME = "Åsa Ek"

CHANGING = {
    "api-key create",
    "api-key revoke",
    "apply",
    "audit prune",
    "audit seal",
    "audit start-signing",
    "deliveries drop",
    "deliveries pause",
    "deliveries replay",
    "deliveries resume",
    "import web-message-sender",
    "messages delete",
    "messages settle",
    "person erase",
    "person export",
    "purge",
    "restore",
}
OTHERS = {
    # Commands that read.
    "api-key list",
    "audit export",
    "audit list",
    "audit reads",
    "audit verify",
    "backup",
    "config show",
    "contract-check",
    "deliveries export",
    "deliveries list",
    "deliveries paused",
    "deliveries show",
    "doctor",
    "messages list",
    "messages show",
    "receiver-check",
    # Programs that run until they are stopped.
    "operations",
    "dev",
    "mock-open-e",
    "serve",
    "worker",
    # It changes tables, and no data; the database records its version.
    "migrate",
}


def iterate_commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from iterate_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_command_that_changes_something_takes_the_name_of_the_operator() -> None:
    """A new command needs `operator_option`, or a place in `OTHERS`."""
    taking = {
        name
        for name, command in iterate_commands(main)
        if any("--as" in parameter.opts for parameter in command.params)
    }
    assert {name for name, _ in iterate_commands(main)} == CHANGING | OTHERS
    assert taking == CHANGING


def test_every_change_is_audited_with_the_name_of_the_operator(
    database_url: str, invoke: Invoke, tmp_path: Path
) -> None:
    subscribe(database_url)
    publish(database_url, 2)
    replayed, dropped = (each.id for each in list_queue(database_url))
    message_id = put_in_doubt(database_url, to_case())
    seals = Seals(database_url, invoke, tmp_path)
    settings = {"audit_key": "env:THE_AUDIT_KEY"}
    for command, arguments in {
        "api-key create": ("caller", "--scope", "messages"),
        "api-key revoke": ("caller",),
        "deliveries replay": (replayed,),
        "deliveries drop": (dropped,),
        "deliveries pause": ("--system", SYSTEM_ID),
        "deliveries resume": ("--system", SYSTEM_ID),
        "messages settle": (message_id, "--not-published"),
        "audit seal": (str(seals.file), "--key", str(seals.key)),
        "apply": (str(write(tmp_path, "systems: []\nmessageTypes: []\nallowedSubscriptions: []\n")), "--prune"),
        "audit start-signing": (),
    }.items():
        before = list_entries(database_url, invoke)
        result = invoke(database_url, *command.split(), *arguments, "--as", NAME, **settings)
        assert result.exit_code == 0, (command, result.output)
        added = list_entries(database_url, invoke)[len(before) :]
        assert NAME in {entry["caller"] for entry in added}, command
        assert {entry["caller"] for entry in added} <= {NAME, NO_CALLER}, command


def list_entries(url: str, invoke: Invoke) -> list[dict[str, str]]:
    return [json.loads(line) for line in invoke(url, "audit", "list").stdout.splitlines()]


@pytest.fixture(autouse=True)
def _audit_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_AUDIT_KEY", base64.b64encode(b"k" * 32).decode())


def test_operator_is_the_user_of_the_operating_system(
    sqlite_url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "asa")
    assert invoke(sqlite_url, "api-key", "create", "caller", "--scope", "messages").exit_code == 0
    assert list_entries(sqlite_url, invoke)[-1]["caller"] == "asa"


@pytest.mark.parametrize("name", ["-", "sha256:0a", "a\nb"])
def test_operator_has_a_number_if_its_name_could_be_another_caller(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", name)
    assert get_operator() == f"uid {os.getuid()}"


@pytest.mark.parametrize("name", ["", " ", "-", "https://issuer.example#client", "sha256:0a", "ip:192.0.2.1"])
def test_name_of_another_caller_is_refused(sqlite_url: str, invoke: Invoke, name: str) -> None:
    result = invoke(sqlite_url, "api-key", "create", "caller", "--scope", "messages", "--as", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for '--as': must not" in result.stderr
    assert list_entries(sqlite_url, invoke) == []
