"""Publication outcomes that are stored after their request."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handlers.publication_outcomes import PublicationOutcomes
from persistence.opening import open_database
from tests.factories import NOW, attachment, web_message


def test_message_that_is_revoked_for_minutes_keeps_no_attachment_in_memory(
    migrated_sqlite: bytes, tmp_path: Path, run: Callable[[Any], Any]
) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    data = bytes(1000)

    async def work() -> None:
        database = open_database(f"sqlite:///{path}")
        outcomes = PublicationOutcomes(database, now=lambda: NOW, timeout=10)
        alone = sys.getrefcount(data)
        outcomes.revoke(web_message(attachments=(attachment(data),)), NOW)
        # The task that revokes the message begins.
        await asyncio.sleep(0)
        assert sys.getrefcount(data) == alone
        await outcomes.close()
        await database.close()

    run(work())
