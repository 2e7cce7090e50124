"""Outcomes that are recorded after the case of their message was settled."""

from datetime import timedelta

import pytest

from domain.errors import NotFound
from domain.web_messages import UNSETTLED_STATES
from persistence import publication_decisions as decisions
from persistence import web_message_lists, web_messages
from persistence.database import Database
from tests.factories import NOW
from tests.persistence.publication_steps import ENTRY, LEASE, SECOND, TIMES, copy, open_e_id, send, settle, to_case

pytestmark = pytest.mark.anyio


async def test_late_outcome_makes_a_message_readable_unless_an_equal_one_got_its_id(database: Database) -> None:
    first = await send(database, to_case())
    late = await send(database, to_case(), NOW + SECOND, is_unknown=False)
    now = NOW + TIMES.longest_call + 2 * SECOND
    settled = await settle(database, copy(7), begun=now)
    assert settled is not None
    assert (settled.found, settled.in_doubt) == ({first.id: 7}, 1)
    # The process that published the message records the outcome, after the database did not answer for long.
    for _ in range(2):
        assert not await decisions.mark_published_late(database, late.id, 7, now)
    with pytest.raises(NotFound):
        await web_messages.get(database, late.id)
    assert [each.state for each in await web_messages.list_unsettled(database, UNSETTLED_STATES, 9)] == ["unknown"]
    settled = await settle(database, copy(7), copy(9), begun=now + LEASE)
    assert settled is not None
    assert settled.found == {late.id: 9}
    assert await decisions.mark_published_late(database, late.id, 7, now)
    assert [await open_e_id(database, message) for message in (first, late)] == [7, 9]


async def test_late_outcome_makes_a_message_readable_as_its_case_is_settled(database: Database) -> None:
    message = await send(database, to_case(), is_unknown=False)
    now = NOW + timedelta(hours=1)
    for _ in range(2):
        assert await decisions.mark_published_late(database, message.id, 7, now)
    assert (await web_messages.get(database, message.id)).created == now
    assert await open_e_id(database, message) == 7
    assert await web_message_lists.list_by_reference(database, message.external_references[0], 5, None)
    gone = await send(database, to_case())
    await web_messages.drop_refused(database, gone.id)
    await decisions.mark_not_published(database, gone.id, now, ENTRY)
    assert not await decisions.mark_published_late(database, gone.id, 8, now)
