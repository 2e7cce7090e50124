"""A database of each kind, within the event loop of the test."""

from collections.abc import AsyncIterator

import pytest

from persistence.database import Database, open_database


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database of each kind."""
    opened = open_database(database_url)
    yield opened
    await opened.close()
