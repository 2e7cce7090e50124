"""`budkavle import web-message-sender` in processes that are killed at every line."""

import sys

from tests.mariadb import OldMessage, OldService
from tests.processes import run_program


def test_import_that_was_killed_anywhere_continues_and_equals_one_that_was_not(
    database_url: str, old: OldService
) -> None:
    ids = (f"f0882f1d-06bc-47fd-b017-{number:012x}" for number in range(12))
    old.put(*(OldMessage(id_, files=(("a.txt", "text/plain", b"a"),)) for id_ in ids))
    result = run_program(
        sys.executable, "-m", "tests.budkavle.kill_message_imports", old.url, database_url=database_url
    )
    assert result.returncode == 0
    assert int(result.stdout) > 20
