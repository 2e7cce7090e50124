"""The commands of docs/how-to/switch-from-web-message-sender.md, in order, and the output on a terminal."""

import json
from pathlib import Path
from typing import Any

from tests.budkavle.services import KEY, put_key, running_program
from tests.factories import PARTY_ID
from tests.mariadb import OldMessage, OldService
from tests.processes import REPOSITORY, run_program
from tests.shown_commands import read_block, read_blocks
from tests.terminals import run_on_terminal
from tests.warm_commands import build_shell_command

PAGE = "docs/how-to/switch-from-web-message-sender.md"
ADDRESS = "mariadb://budkavle:PASSWORD@db.example.org/web_message_sender?tls=yes"
SHOWN_ID = "f0882f1d-06bc-47fd-b017-1d8307f5ce95"
ADDED_ID, DELETED_ID = (f"f0882f1d-06bc-47fd-b017-00000000000{number}" for number in (1, 2))


def paste(script: str, folder: Path, url: str) -> list[str]:
    """Paste a block into a shell, and return the lines that it printed."""
    result = run_program(*build_shell_command(script), folder=folder, database_url=url)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_switch_loses_no_message(sqlite_url: str, old: OldService, tmp_path: Path) -> None:
    dry_run = read_block(PAGE, "export OLD_DATABASE")
    assert ADDRESS in dry_run
    address = f"export OLD_DATABASE='{old.url}'\n"
    first, last = (
        address + block.text
        for block in read_blocks(REPOSITORY / PAGE)
        if block.text.startswith("budkavle import") and block.has_commands
    )

    def run(script: str) -> Any:
        [summary] = paste(script, tmp_path, sqlite_url)
        return json.loads(summary)

    # The first has neither a municipality nor an instance.
    old.put(OldMessage(SHOWN_ID), OldMessage(DELETED_ID, municipality_id=None, oep_instance=None))
    decided = dry_run.replace("--dry-run", "--municipality 2281 --instance external --dry-run")
    planned = run(decided.replace(ADDRESS, old.url))
    assert (planned["imported"], planned["dryRun"]) == (2, True)
    assert run(first)["imported"] == 2
    old.put(OldMessage(ADDED_ID))
    old.delete(DELETED_ID)
    rest = run(last)
    assert (rest["imported"], rest["importedBefore"], rest["deletedThere"]["deleted"]) == (1, 1, 1)
    again = run(last)
    assert (again["imported"], again["found"]) == (0, again["importedBefore"] + again["rejected"])
    remarks = [json.loads(line) for line in (tmp_path / "import.jsonl").read_text().splitlines()]
    assert {(each["id"], each["kind"]) for each in remarks} == {(DELETED_ID, "changed"), (DELETED_ID, "deleted")}

    put_key(sqlite_url)
    curl, *commands = read_block(PAGE, "curl").splitlines()
    with running_program(sqlite_url, compatibility_apis="web-messages-3.2") as service:
        curl = curl.replace("https://budkavle.example", service.url).replace("KEY", KEY)
        [message] = paste(curl, tmp_path, sqlite_url)
    assert json.loads(message) == {
        "id": SHOWN_ID,
        "municipalityId": "2281",
        "sender": {"userId": "joe01doe"},
        "partyId": PARTY_ID,
        "message": OldMessage("").message,
        "oepInstance": "EXTERNAL",
        "externalReferences": [{"key": "flowInstanceId", "value": "1068"}, {"key": "errandNumber", "value": "A-17"}],
        "created": "2024-05-17T08:11:12.123+00:00",
        "attachments": [],
    }
    entries = [json.loads(line) for line in paste("\n".join(commands), tmp_path, sqlite_url)]
    outcomes = [entry["outcome"] for entry in entries]
    assert outcomes == ["begun", "imported", "begun", "deleted", "imported", "begun", "imported"]


def test_import_prints_tables_and_progress_on_a_terminal(sqlite_url: str, old: OldService) -> None:
    old.put(OldMessage(SHOWN_ID, message=None), OldMessage(ADDED_ID, created=None))
    command = ("import", "web-message-sender", old.url, "--time-zone", "Europe/Stockholm", "--dry-run")
    screen = run_on_terminal(sqlite_url, *command, columns=120)
    assert screen.exit_code == 1
    assert "Importing messages:" in screen.text
    assert [line.split()[:3] for line in screen.lines if SHOWN_ID in line] == [[SHOWN_ID, "message", "changed"]]
    assert "Rejected         1" in screen.text
    lines = [json.loads(line) for line in run_on_terminal(sqlite_url, *command, "--json").lines if line[:1] == "{"]
    assert [each.get("id") for each in lines] == [ADDED_ID, SHOWN_ID, None]
