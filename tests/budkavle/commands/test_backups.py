"""`budkavle backup` and `budkavle restore`."""

import json
import re
import signal
import uuid
from pathlib import Path

import pytest

from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import put_key, running_program
from tests.processes import budkavle, run_program


def test_backup_and_restore_print_what_they_did(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    create = ("api-key", "create", "--scope", "messages")
    invoke(sqlite_url, *create, "before")
    backup = tmp_path / "backup.db"
    result = invoke(sqlite_url, "backup", str(backup))
    assert (result.exit_code, result.stderr) == (0, "")
    version = re.fullmatch(rf"ok: {backup} has {backup.stat().st_size} bytes at version (\d{{4}})\n", result.stdout)[1]
    invoke(sqlite_url, *create, "after")
    result = invoke(sqlite_url, "restore", str(backup), "--as", "Åsa Ek")
    assert (result.exit_code, result.stderr) == (0, "")
    kept = re.fullmatch(
        rf"ok: {tmp_path}/test.db has \d+ bytes at version {version}; the former one is (\S+)\n", result.stdout
    )[1]
    keys = [invoke(url, "api-key", "list").stdout for url in (sqlite_url, f"sqlite:///{kept}")]
    assert ['"before"' in text for text in keys] == [True, True]
    assert ['"after"' in text for text in keys] == [False, True]
    assert invoke(sqlite_url, "audit", "verify", "--state").exit_code == 0
    (entry,) = map(json.loads, invoke(sqlite_url, "audit", "list", "--system", "-").stdout.splitlines())
    assert (entry["operation"], entry["caller"], entry["outcome"]) == ("restore", "Åsa Ek", "restored")
    assert entry["detail"] == {"version": version, "bytes": backup.stat().st_size, "former": Path(kept).name}


def test_seals_show_which_entries_a_restore_removed(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    seals = Seals(sqlite_url, invoke, tmp_path)
    backup = str(tmp_path / "backup.db")
    assert seals.seal().startswith("ok: seal 1 ")
    invoke(sqlite_url, "backup", backup)
    invoke(sqlite_url, "api-key", "create", "caller", "--scope", "messages")
    assert seals.seal().startswith("ok: seal 2 ")
    kept = invoke(sqlite_url, "restore", backup).stdout.split()[-1]
    assert seals.verify().endswith("it was sealed and is missing")
    assert seals.seal().endswith("it was sealed and is missing")
    # The former database still has them, and another file of seals continues.
    seals.url = f"sqlite:///{kept}"
    assert seals.verify().startswith("ok: seals 1 to 2,")
    seals.url = sqlite_url
    other = tmp_path / "others.jsonl"
    assert seals.seal("--new-file", file=other).startswith("ok: seal 2 ")
    assert seals.verify(file=other).startswith("ok: seals 2 to 2,")


def test_backup_refuses_an_existing_file(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    backup.touch()
    result = invoke(sqlite_url, "backup", str(backup))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {backup} exists: give another name, or --force to replace it\n"
    assert invoke(sqlite_url, "backup", "--force", str(backup)).exit_code == 0


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_backup_refuses_a_database_without_content(invoke: Invoke, tmp_path: Path, content: bytes | None) -> None:
    database = tmp_path / "test.db"
    if content is not None:
        database.write_bytes(content)
    before = list(tmp_path.iterdir())
    result = invoke(f"sqlite:///{database}", "backup", str(tmp_path / "backup.db"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("command", "tool"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_commands_name_the_tools_of_postgresql(invoke: Invoke, command: str, tool: str) -> None:
    result = invoke(f"postgresql://user:secret@127.0.0.1:1/{uuid.uuid4().hex}", command, "backup.db")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(rf"Error: the database is PostgreSQL: use {tool} [^\n]+\n", result.stderr)
    assert Path(re.search(r"\S+back-up-and-restore.md", result.stderr)[0]).is_file()


def test_restore_refuses_while_a_program_runs_and_works_after_it_was_killed(sqlite_url: str, tmp_path: Path) -> None:
    """With several processes, each of which has the database open."""
    put_key(sqlite_url)
    backup = str(tmp_path / "backup.db")
    restore = budkavle("restore", backup)
    with running_program(sqlite_url) as service:
        assert run_program(*budkavle("backup", backup), database_url=sqlite_url).returncode == 0
        result = run_program(*restore, database_url=sqlite_url)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: a program has ")
        service.process.send(signal.SIGKILL)
        service.process.wait()
        assert run_program(*restore, database_url=sqlite_url).returncode == 0
