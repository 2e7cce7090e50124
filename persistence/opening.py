"""Open the database at a URL."""

from pathlib import Path

import sqlalchemy as sa

from domain.audit_signatures import EntrySigner
from persistence.database import Database, DatabaseUnusable
from persistence.waits import Waits


def open_database(url: str, waits: Waits | None = None, signer: EntrySigner | None = None) -> Database:
    """Return the database at `sqlite:///path` or `postgresql://…`. It connects when it is first used.

    `waits` are the timeouts for PostgreSQL. `signer` signs entries of the audit. Raises `DatabaseUnusable` for any
    other URL.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in {"postgresql", "postgres"}:
        from persistence.postgresql.database import PostgresqlDatabase

        return PostgresqlDatabase(url, waits, signer)
    path = _find_sqlite_path(url)
    if path is None:
        raise DatabaseUnusable(_UNUSABLE)
    from persistence.sqlite.database import SqliteDatabase

    return SqliteDatabase(path, signer)


_UNUSABLE = "BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://"


def _find_sqlite_path(url: str) -> str | None:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise DatabaseUnusable(_UNUSABLE) from exc
    is_file = parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}
    return parsed.database if is_file else None


def find_sqlite_file(url: str) -> Path | None:
    """Return the path of the database file, or None for PostgreSQL. Raises `DatabaseUnusable` for any other URL."""
    if url.partition("://")[0] in {"postgresql", "postgres"}:
        return None
    path = _find_sqlite_path(url)
    if path is None:
        raise DatabaseUnusable(_UNUSABLE)
    return Path(path)


def mask_password(url: str) -> str:
    """Return the URL of a database without its passwords. Raises `DatabaseUnusable` for any other URL."""
    if url.partition("://")[0] in {"postgresql", "postgres"}:
        from persistence.postgresql import url as postgresql

        return postgresql.mask_password(url)
    if not url.startswith("sqlite:///"):
        raise DatabaseUnusable(_UNUSABLE)
    return url
