"""Times in tables."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from persistence.database import Database
from persistence.tables import UtcDateTime
from persistence.work import short_write
from tests.factories import NOW

pytestmark = pytest.mark.anyio

WEST = timezone(timedelta(hours=-11, minutes=-30))


@pytest.mark.parametrize(
    "moment",
    [
        NOW,
        NOW.astimezone(WEST),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2500, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=1))),
        None,
    ],
)
async def test_time_is_read_as_the_same_instant_in_utc(database: Database, moment: datetime | None) -> None:
    @short_write
    def store_and_read(connection: sa.Connection) -> list[datetime | None]:
        table = sa.Table("times", sa.MetaData(), sa.Column("moment", UtcDateTime))
        table.create(connection)
        insert = table.insert().values(moment=moment)
        connection.execute(insert)
        connection.exec_driver_sql(
            str(insert.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
        )
        return list(connection.scalars(sa.select(table.c.moment)))

    for found in await database.write(store_and_read):
        assert found == moment
        assert found is None or found.utcoffset() == timedelta(0)
