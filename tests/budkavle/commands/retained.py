"""What tests of retention and erasure read from the database."""

from typing import Any

from domain.audit import RETENTION
from persistence import audit
from persistence.database import Database
from tests.databases import run_with_database
from tests.persistence.rows import count_rows


def list_entries(url: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return operation, caller, outcome and detail of the entries about retention."""

    async def read(database: Database) -> list[Any]:
        return await audit.list_page(database, after=0, limit=100, chain=RETENTION)

    entries = [each.entry for _, each in run_with_database(url, read)]
    return [(each.operation, each.caller, each.outcome, each.detail) for each in entries]


def count(url: str) -> dict[str, int]:
    """Return the number of rows by table."""
    numbers: dict[str, int] = run_with_database(url, count_rows)
    return numbers
