"""Find and erase what is stored about a person, in steps."""

import asyncpg
import pytest

from domain.audit import RETENTION, AuditEntry
from persistence import audit, persons
from persistence.database import Database
from persistence.opening import open_database
from persistence.persons import ErasedEvents
from tests.factories import NOW, PARTY_ID, build_web_message
from tests.persistence.catalogues import build_entry, prepare, sync
from tests.persistence.queues import publish

pytestmark = pytest.mark.anyio

ENTRY = AuditEntry(RETENTION, "change", NOW, "person erase", "Åsa", "erased", "r-1")
OTHER = "0f0f0f0f-5798-11e9-ae24-57fa13b361e1"


async def test_find_events_reads_identifiers_and_not_texts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On several pages, in any case, and for events without deliveries."""
    monkeypatch.setattr(persons, "PAGE", 2)
    body = f'"eksternIdentifier":"{PARTY_ID}","identifikation":"{PARTY_ID}" \x00'
    await prepare(database)
    about = [
        (await publish(database, external_id=OTHER, identification_type=2, identification=PARTY_ID)).event_id,
        (await publish(database, external_id=PARTY_ID.upper(), body=body)).event_id,
    ]
    for _ in range(3):
        await publish(database, external_id=OTHER, body=body)
        await publish(database, identification_type=1, identification=f"{PARTY_ID[:-1]}9", external_id=OTHER)
    assert sorted(await persons.find_events(database, {PARTY_ID})) == sorted(about)
    assert await persons.find_events(database, {build_web_message().id}) == []


async def test_erase_events_skips_deliveries_that_another_transaction_has_locked(
    url: str, other: asyncpg.Connection
) -> None:
    database = open_database(url)
    await prepare(database)
    await sync(database, [build_entry()])
    ids = [(await publish(database, external_id=PARTY_ID)).event_id]
    async with other.transaction():
        await other.execute("select 1 from deliveries for update")
        assert await persons.erase_events(database, ids, ENTRY) == ErasedEvents(0, 0)
    assert await persons.find_remaining_events(database, ids) == ids
    assert await audit.list_page(database, after=0, limit=10, chain=RETENTION) == []
    assert await persons.erase_events(database, ids, ENTRY) == ErasedEvents(1, 1)
    assert await persons.find_remaining_events(database, ids) == []
    [(_, recorded)] = await audit.list_page(database, after=0, limit=10, chain=RETENTION)
    assert recorded.entry.detail == {"events": 1, "deliveries": 1}
    await database.close()
