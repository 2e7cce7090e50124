import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from domain.web_messages import MessageState
from persistence import deliveries, web_message_inserts, web_messages, work
from persistence.database import Database
from persistence.sqlite.database import SqliteDatabase
from persistence.work import Cost
from tests.factories import build_attachment, build_web_message
from tests.persistence.kinds import READS, WRITES, run_as
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio

LARGE = web_message_inserts.LARGE_BYTES + 1


@pytest.mark.parametrize("declare", [*READS, *WRITES, work.mark])
async def test_work_that_delays_others_runs_outside_their_thread(
    database: Database, declare: Callable[..., Any]
) -> None:
    def in_which_thread(connection: sa.Connection) -> int:
        connection.exec_driver_sql("select 1")
        return threading.get_ident()

    is_here = await run_as(declare, database, in_which_thread) == threading.get_ident()
    if isinstance(database, SqliteDatabase):
        in_loop = {work.short_read, work.queue_read, work.short_write, work.queue_write, work.mark}
        assert is_here == (declare in in_loop)
    else:
        assert is_here == (declare not in {work.long_read, work.long_write})


@pytest.mark.parametrize("declare", READS)
async def test_sqlite_rejects_a_write_that_is_declared_as_a_read(
    database: Database, declare: Callable[..., Any]
) -> None:
    if not isinstance(database, SqliteDatabase):
        return
    await web_messages.store(database, build_web_message())

    def delete(connection: sa.Connection) -> None:
        connection.exec_driver_sql("delete from web_messages")

    with pytest.raises(StorageFailed) as caught:
        await run_as(declare, database, delete)
    assert "readonly" in str(caught.value.__cause__)
    assert (await count_rows(database))["web_messages"] == 1
    await web_messages.store(database, build_web_message())


async def test_declared_work_is_called_by_other_work_within_its_transaction(database: Database) -> None:
    message = build_web_message()

    @work.short_write
    def insert_and_fail(connection: sa.Connection) -> None:
        new = web_message_inserts.NewMessage(message, MessageState.STORED, None, message.created)
        web_message_inserts._insert(connection, new)
        assert web_messages._find(connection, message.id) == message
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(insert_and_fail)
    assert await count_rows(database) == {}


def test_cost_of_a_message_depends_on_its_bytes() -> None:
    def find_cost(**fields: Any) -> Cost:
        new = web_message_inserts.NewMessage(build_web_message(**fields), MessageState.STORED, None, None)
        return web_message_inserts._insert_with_files.find_cost(new)

    assert find_cost(message="x" * (LARGE - 1)) is Cost.SHORT
    assert find_cost(message="x" * LARGE) is Cost.LARGE
    assert find_cost(attachments=(build_attachment(b"x" * LARGE),)) is Cost.LARGE


def test_cost_of_a_piece_depends_on_the_bytes_of_the_attachment() -> None:
    costs = [web_messages._read_piece.find_cost(build_attachment(b"x" * size), 0) for size in (LARGE - 1, LARGE)]
    assert costs == [Cost.SHORT, Cost.LARGE]


@pytest.mark.parametrize(
    "changing", [deliveries._replay, deliveries._list_not_replayed, deliveries._drop, deliveries.drop_stored]
)
def test_cost_of_a_change_of_deliveries_depends_on_their_number(changing: Any) -> None:
    costs = [changing.find_cost(["id"] * number, None, None) for number in (deliveries.FEW, deliveries.FEW + 1)]
    assert costs == [Cost.SHORT, Cost.BULK]
