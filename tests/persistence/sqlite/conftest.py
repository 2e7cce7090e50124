"""A migrated SQLite database, and its file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence.database import Database
from persistence.opening import open_database


@pytest.fixture
def path(migrated_sqlite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()
