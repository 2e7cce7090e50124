"""`budkavle import web-message-sender` from a MariaDB that stops answering, without closing the connection."""

import time

import pytest

from budkavle.message_imports import web_message_sender
from tests.budkavle.commands.message_imports import COMMAND, ZONE, build_id, dump, run
from tests.budkavle.conftest import Invoke
from tests.mariadb import MariaDb, OldMessage, OldService
from tests.tcp_proxy import tcp_proxy

MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_message_sender, "STATEMENT_SECONDS", 1)


def test_import_ends_if_the_database_falls_silent_and_continues_later(
    database_url: str, invoke: Invoke, old: OldService, mariadb: MariaDb
) -> None:
    old.put(*(OldMessage(build_id(number), files=(("a", "text/plain", bytes(MEGABYTE)),)) for number in range(12)))
    with tcp_proxy(("127.0.0.1", mariadb.port)) as proxy:
        command = (*COMMAND, old.url.replace(f":{mariadb.port}/", f":{proxy.port}/"), *ZONE)
        proxy.freeze_after(6 * MEGABYTE)
        begun = time.monotonic()
        result = invoke(database_url, *command)
        imported = len(dump(database_url, "imported_messages")["imported_messages"])
        assert (result.exit_code, 0 < imported < 12) == (1, True), result.output
        proxy.freeze(is_deaf=True)
        deaf = invoke(database_url, *command)
        assert deaf.exit_code == 1
        assert time.monotonic() - begun < 30
    for failed in (result, deaf):
        assert "did not answer within 1 seconds" in failed.stderr
        assert "run the command again" in failed.stderr
    _, summary = run(invoke, database_url, old)
    assert (summary["importedBefore"], summary["imported"]) == (imported, 12 - imported)
