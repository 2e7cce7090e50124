"""`budkavle import web-message-sender` in processes that are killed at every line."""

import sys
from pathlib import Path

from tests.mariadb import OldMessage, OldService
from tests.processes import run_program


def test_import_that_was_killed_anywhere_continues_and_equals_one_that_was_not(
    database_url: str, old: OldService, tmp_path: Path
) -> None:
    ids = (f"f0882f1d-06bc-47fd-b017-{number:012x}" for number in range(12))
    old.put(*(OldMessage(id_, message=None, files=(("a.txt", "text/plain", b"a"),)) for id_ in ids))
    program = (sys.executable, "-m", "tests.budkavle.kill_message_imports", old.url, str(tmp_path / "remarks"))
    result = run_program(*program, database_url=database_url)
    assert result.returncode == 0
    assert int(result.stdout) > 20
