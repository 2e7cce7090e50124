"""Open the database at a URL."""

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
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise DatabaseUnusable("BUDKAVLE_DATABASE_URL is not a database URL") from exc
    if parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        from persistence.sqlite.database import SqliteDatabase

        return SqliteDatabase(str(parsed.database), signer)
    raise DatabaseUnusable("BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://")


def mask_password(url: str) -> str:
    """Return the URL of a database without its passwords. Raises `DatabaseUnusable` for any other URL."""
    if url.partition("://")[0] in {"postgresql", "postgres"}:
        from persistence.postgresql import url as postgresql

        return postgresql.mask_password(url)
    if not url.startswith("sqlite:///"):
        raise DatabaseUnusable("BUDKAVLE_DATABASE_URL is not a database URL")
    return url
