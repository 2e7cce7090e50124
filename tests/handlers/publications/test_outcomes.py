"""Publication outcomes that are stored after their request."""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain.publications import PublicationOutcome
from domain.web_messages import ExternalReference, MessageState
from handlers.publications.outcomes import PublicationOutcomes
from persistence import web_messages
from persistence.opening import open_database
from tests.factories import NOW, build_attachment, build_web_message


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
        outcomes.revoke(build_web_message(attachments=(build_attachment(data),)), NOW)
        # The task that revokes the message begins.
        await asyncio.sleep(0)
        assert sys.getrefcount(data) == alone
        await outcomes.close()
        await database.close()

    run(work())


def test_late_outcome_gives_no_id_to_a_second_message(
    migrated_sqlite: bytes, tmp_path: Path, run: Callable[[Any], Any]
) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)

    async def work() -> None:
        database = open_database(f"sqlite:///{path}")
        outcomes = PublicationOutcomes(database, now=lambda: NOW + timedelta(seconds=11), timeout=10)
        reference = ExternalReference("flowInstanceId", "1068")
        first, second = [build_web_message(external_references=(reference,), created=None) for _ in range(2)]
        for message in (first, second):
            await web_messages.begin_sending(database, message, NOW)
        assert await outcomes.record(PublicationOutcome(first, NOW, MessageState.PUBLISHED, 7))
        # The settler has given the copy of the second message to the first one.
        assert not await outcomes.record(PublicationOutcome(second, NOW, MessageState.PUBLISHED, 7))
        assert await web_messages.find_unsettled(database, second.id) is not None
        await outcomes.close()
        await database.close()

    run(work())
