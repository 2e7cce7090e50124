"""The systems of the catalogue, as operators see them."""

from uuid import uuid4

import pytest

from persistence import systems
from persistence.database import Database
from persistence.systems import SystemSummary
from tests.persistence.catalogues import SYSTEM, SYSTEM_IDS, prepare

pytestmark = pytest.mark.anyio


async def test_systems_are_found_and_listed_by_name(database: Database) -> None:
    await prepare(database)
    assert [each.id for each in await systems.list_all(database)] == sorted(SYSTEM_IDS)
    assert await systems.find(database, SYSTEM) == SystemSummary(SYSTEM, SYSTEM, "https://receiver.example")
    assert await systems.find(database, str(uuid4())) is None
