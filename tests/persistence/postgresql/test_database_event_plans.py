"""Plans of the statements that store messages on PostgreSQL. Each raises an event for few of many subscriptions."""

import pytest
import sqlalchemy as sa

from persistence import publications, web_message_inserts, web_messages
from persistence.postgresql.database import PostgresqlDatabase
from persistence.prepared import PreparedStatement
from persistence.work import short_read, short_write
from tests.persistence.postgresql.plans import explain, list_scans

pytestmark = pytest.mark.anyio

STATEMENTS: dict[str, PreparedStatement] = {
    "insert one": web_message_inserts._INSERT_ONE,
    "insert": web_message_inserts._INSERT_ALL,
    "insert with keys": web_message_inserts._INSERT_WITH_KEYS,
    "mark as published": web_messages._MARK_PUBLISHED_ALL,
    "find in Open-E": publications._FIND_ALL,
}
SUBSCRIPTIONS = """
insert into message_types (entity_type, name) select number, number from generate_series(1, 20) as number;
insert into systems (id, name, base_url, webhook_secrets, allow_private_addresses)
select gen_random_uuid(), number, 'https://a.example', '[]', false from generate_series(1, 10) as number;
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time)
select systems.id, 1, number / 20, 1 + number % 20, '/', now() from systems, generate_series(1, 1000) as number;
insert into web_message_events (number, org_type, org_code, entity_type) values (1, 1, 7, 5);
"""


@short_write
def insert_subscriptions(connection: sa.Connection) -> None:
    for statement in SUBSCRIPTIONS.split(";")[:-1]:
        connection.execute(sa.text(statement))


@short_write
def analyze(connection: sa.Connection) -> None:
    connection.execute(sa.text("analyze"))


async def test_event_of_a_message_reads_only_its_own_subscriptions(url: str) -> None:
    database = PostgresqlDatabase(url)
    try:
        await database.write(insert_subscriptions)
        await database.write(analyze)
        for name, statement in STATEMENTS.items():
            scans = list_scans(await database.read(short_read(explain), statement.statement), "subscriptions")
            assert scans, name
            for node in scans:
                assert node["Node Type"] in {"Index Scan", "Bitmap Heap Scan"}, (name, node)
    finally:
        await database.close()
