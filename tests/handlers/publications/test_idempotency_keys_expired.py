"""Delete expired keys in the background."""

from datetime import timedelta

import pytest

from domain.audit import RETENTION
from domain.idempotency_keys import build_first_id
from handlers.publications.idempotency_keys import ExpiredKeys
from persistence import audit, web_messages
from persistence.database import Database
from tests.factories import NOW, build_web_message, idempotency_key
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_expired_keys_are_deleted_and_counted_in_the_audit(database: Database) -> None:
    for number, days in enumerate((8, 8, 6)):
        message = build_web_message(id=f"{build_first_id(NOW - timedelta(days=days))[:-1]}{number}")
        await web_messages.store(database, message, idempotency_key(message))
    keys = ExpiredKeys(database, lifetime=timedelta(days=7), now=lambda: NOW)
    assert [await keys.run_once(), await keys.run_once()] == [2, 0]
    assert (await count_rows(database))["idempotency_keys"] == 1
    [(_, recorded)] = await audit.list_page(database, after=0, limit=10, chain=RETENTION)
    assert recorded.entry.detail == {"kind": "idempotencyKeys", "days": 7, "removed": 2}
