"""A database that a test has used is given to the next test as if it were new."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.postgresql import PostgresqlServer

INSERT = """
insert into systems (id, name, base_url, webhook_secrets, allow_private_addresses)
values ('7c9e6679-7425-40de-944b-e07fc1f90ae8', 'A system', 'https://system.test', '[]', false);
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time)
values ('7c9e6679-7425-40de-944b-e07fc1f90ae8', 1, 101, 202, '/a', now())
"""
STATE = """
select string_agg(relname || pg_relation_size(oid) || reltuples, ',' order by relname)
from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'alembic_version'
union all select string_agg(sequencename || coalesce(last_value, 0), ',' order by sequencename) from pg_sequences
"""


def fetch(url: str, *statements: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [INSERT, "analyze", "select nextval('audit_entries_id_seq')", f"{INSERT}; delete from systems; vacuum"],
    ids=["rows", "statistics", "sequence", "deleted rows"],
)
def test_used_database_is_emptied_for_the_next_test(postgresql_server: PostgresqlServer, change: str) -> None:
    url = postgresql_server.create_migrated()
    (new,) = fetch(url, STATE)
    for statement in change.split(";"):
        fetch(url, statement)
    assert fetch(url, STATE) != [new]
    postgresql_server.give_back(url)
    assert postgresql_server.create_migrated() == url
    assert fetch(url, STATE) == [new]
    postgresql_server.give_back(url)


def test_changed_database_is_not_used_again(postgresql_server: PostgresqlServer) -> None:
    url = postgresql_server.create_migrated()
    fetch(url, "alter table systems add column other text")
    postgresql_server.give_back(url)
    assert postgresql_server.create_migrated() != url
