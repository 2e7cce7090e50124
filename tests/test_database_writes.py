"""The mark of a database changes with each write, and only then."""

from tests.catalogue_rows import put_message_types
from tests.database_writes import watching_writes
from tests.databases import run_with_database
from tests.persistence.rows import count_rows


def test_mark_changes_with_a_write(database_url: str) -> None:
    with watching_writes(database_url) as mark:
        before = mark()
        put_message_types(database_url)
        assert mark() != before
        # PostgreSQL may write on its own, but not all the time.
        assert len({mark() for _ in range(100)}) < 50


def test_mark_of_sqlite_does_not_change_with_a_read(migrated_sqlite: bytes, tmp_path) -> None:
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    url = f"sqlite:///{tmp_path / 'test.db'}"
    with watching_writes(url) as mark:
        before = mark()
        run_with_database(url, count_rows)
        assert mark() == before
