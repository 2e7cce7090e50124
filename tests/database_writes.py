"""Detect whether a database was written to, without a request to the service."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import asyncpg

Mark = Callable[[], object]
"""A function that returns a value that changes with each committed write. It may also change without one."""


@contextmanager
def watching_writes(url: str) -> Iterator[Mark]:
    with _watching_sqlite(url) if url.startswith("sqlite") else _watching_postgresql(url) as mark:
        yield mark


@contextmanager
def _watching_sqlite(url: str) -> Iterator[Mark]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        # SQLite changes it when another connection commits.
        yield lambda: connection.execute("pragma data_version").fetchone()


@contextmanager
def _watching_postgresql(url: str) -> Iterator[Mark]:
    with closing(asyncio.new_event_loop()) as loop:
        connection = loop.run_until_complete(asyncpg.connect(url))
        # The end of the server's write-ahead log, which every write extends.
        statement = "select pg_current_wal_insert_lsn()::text"
        try:
            yield lambda: loop.run_until_complete(connection.fetchval(statement))
        finally:
            loop.run_until_complete(connection.close())
