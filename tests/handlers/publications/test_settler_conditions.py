"""The settler and an Open-E with other clocks, time zones, delays and senders, on a real connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from domain.web_messages import OepInstance
from mock_open_e import Conditions, MockOpenE
from open_e.accounts import Account
from open_e.client import OpenEClient
from open_e.messageapi import MessageApi
from open_e.read_backs import ReadBacks
from persistence import web_messages as stored
from persistence.database import Database
from tests.handlers.publications.test_settler import SECOND, TIMES, Clock, in_doubt, is_readable, new_settler, to_case
from tests.mock_servers import running_mock

pytestmark = pytest.mark.anyio

MOMENTS = [
    "2026-03-01T12:00:59.999+00:00",
    # The clocks of Stockholm change at 01:00 UTC: in March to 03:00, in October back to 02:00.
    "2026-03-29T00:59:30+00:00",
    "2026-03-29T01:00:30+00:00",
    "2026-10-25T00:30:00+00:00",
    "2026-10-25T01:30:00+00:00",
    "2026-12-31T23:59:30+00:00",
]


@contextmanager
def run_with_accounts(mock: MockOpenE) -> Iterator[dict[OepInstance, Account]]:
    """Run the mock as a server, and yield its accounts."""
    with running_mock(mock) as address:
        yield {each: Account(f"{address}/{each}/api/callback", "user", "lösen") for each in OepInstance}


@pytest.mark.parametrize("zone", [None, "Europe/Stockholm"])
@pytest.mark.parametrize("sent", list(map(datetime.fromisoformat, MOMENTS)), ids=MOMENTS)
async def test_message_is_found_whatever_clock_and_time_zone_open_e_has(
    database: Database, zone: str | None, sent: datetime
) -> None:
    conditions = Conditions(clock_seconds=-3700, time_zone=zone, taken_ids=3)
    clock = Clock()
    clock.time = sent
    mock = MockOpenE(username="user", password="lösen", conditions=conditions, clock=clock)
    with run_with_accounts(mock) as accounts:
        client = OpenEClient(accounts, connect_timeout=5, read_timeout=5, threads=1)
        read_backs = ReadBacks(MessageApi(accounts, timeout=8, threads=1), threads=1)
        message, other = to_case(sender_user_id="joe01doe"), to_case("another text")
        for each in (message, other):
            await stored.begin_sending(database, each, sent)
            await stored.mark_unknown(database, each.id)
        client.add_message(message, added=sent, request_id="r")
        await new_settler(database, clock, read_backs.read_case).run_once()
        assert await is_readable(database, message)
        assert not await is_readable(database, other)
        client.close()
        read_backs.close()


@pytest.mark.parametrize("stale", [30, 60])
async def test_message_that_shows_up_late_is_found(database: Database, stale: int) -> None:
    clock = Clock()
    mock = MockOpenE(username="user", password="lösen", conditions=Conditions(stale_seconds=stale), clock=clock)
    with run_with_accounts(mock) as accounts:
        client = OpenEClient(accounts, connect_timeout=5, read_timeout=5, threads=1)
        read_backs = ReadBacks(MessageApi(accounts, timeout=8, threads=1), threads=1)
        settler = new_settler(database, clock, read_backs.read_case)
        message, sent = to_case(), clock.time
        await stored.begin_sending(database, message, sent)
        client.add_message(message, added=sent, request_id="r")
        await stored.mark_unknown(database, message.id)
        while await in_doubt(database):
            await settler.run_once()
            clock.time += SECOND
        assert await is_readable(database, message)
        assert clock.time <= sent + TIMES.until_absent + SECOND
        client.close()
        read_backs.close()
