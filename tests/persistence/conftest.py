"""Fixtures of tests that need PostgreSQL."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.postgresql import PostgresqlServer


@pytest.fixture
def url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """The URL of a migrated, empty database."""
    url = postgresql_server.create_migrated()
    yield url
    postgresql_server.give_back(url)


@pytest.fixture
async def other(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of another program."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()
