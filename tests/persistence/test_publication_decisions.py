"""Decisions of operators and callers about messages in doubt, and sending again."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.errors import Conflict, NotFound
from domain.publications import Case, CaseMessage
from domain.web_messages import OepInstance, WebMessage
from persistence import publication_decisions as decisions
from persistence import publications as stored
from persistence import web_messages
from persistence.database import Database
from persistence.opening import open_database
from persistence.publications import ReadBack, SettledCase
from tests.factories import NOW
from tests.persistence.publication_steps import (
    CASE,
    CERTAIN,
    ENTRY,
    LEASE,
    RULES,
    SECOND,
    add_key,
    audit_entries,
    copy,
    open_e_id,
    send,
    to_case,
)
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_message_whose_call_runs_is_not_deleted(database: Database) -> None:
    message = await send(database, to_case(), is_unknown=False)
    assert not await decisions.delete_in_doubt(database, message.id, NOW, ENTRY)
    assert await stored.is_unsettled(database, message.id)
    assert await stored.find_case(database, message.id, NOW) is None
    assert await decisions.delete_in_doubt(database, message.id, NOW + SECOND, ENTRY)
    assert not await stored.is_unsettled(database, message.id)


async def test_operator_decides(database: Database) -> None:
    found, absent = [await send(database, to_case()) for _ in range(2)]
    other = await send(database, to_case("another"), is_unknown=False)
    await add_key(database, absent)
    later = NOW + SECOND
    assert await decisions.mark_found(database, found.id, 7, NOW, NOW, ENTRY)
    assert await decisions.mark_found(database, other.id, None, NOW, later, ENTRY)
    assert await decisions.mark_not_published(database, absent.id, NOW, ENTRY)
    assert await open_e_id(database, found) == 7
    assert await open_e_id(database, other) is None
    rows = await count_rows(database)
    assert (rows["web_messages"], rows["web_message_references"], rows.get("idempotency_keys")) == (2, 4, None)
    assert len(await audit_entries(database)) == 3
    for message in (found, absent):
        assert not await decisions.mark_found(database, message.id, 7, NOW, later, ENTRY)
        assert not await decisions.mark_not_published(database, message.id, later, ENTRY)
    assert len(await audit_entries(database)) == 3


async def test_operator_cannot_decide_about_a_message_whose_call_runs(database: Database) -> None:
    message = await send(database, to_case(), is_unknown=False)
    assert not await decisions.mark_found(database, message.id, 7, NOW, NOW, ENTRY)
    assert not await decisions.mark_not_published(database, message.id, NOW, ENTRY)
    assert await stored.is_unsettled(database, message.id)


async def test_operator_cannot_give_a_message_the_copy_of_another(database: Database) -> None:
    first, second, deleted = [await send(database, to_case()) for _ in range(3)]
    with pytest.raises(Conflict, match="has the same text"):
        await decisions.mark_found(database, first.id, None, NOW, NOW, ENTRY)
    assert await decisions.mark_found(database, first.id, 7, NOW, NOW, ENTRY)
    assert await decisions.mark_found(database, deleted.id, 8, NOW, NOW, ENTRY)
    await web_messages.delete(database, deleted.id)
    for taken in (7, 8):
        with pytest.raises(Conflict, match=f"has the messageID {taken} of Open-E"):
            await decisions.mark_found(database, second.id, taken, NOW, NOW, ENTRY)
    assert await stored.is_unsettled(database, second.id)
    assert len(await audit_entries(database)) == 2
    assert await decisions.mark_found(database, second.id, None, NOW, NOW, ENTRY)


async def test_settler_and_operator_at_once_do_not_give_one_copy_to_two_messages(
    database: Database, database_url: str
) -> None:
    """Of two equal messages, the settler gives the only copy to the first, and the operator to the second."""
    other = open_database(database_url)
    for number in range(1, 41):
        case = Case(OepInstance.EXTERNAL, number)
        first, second = [await send(database, to_case(case=number), NOW + place * SECOND) for place in range(2)]
        await stored.claim(database, case, NOW, LEASE)
        work = [
            stored.settle_case(database, case, ReadBack(NOW, NOW, [copy()]), NOW, RULES),
            decisions.mark_found(other, second.id, 7, NOW, NOW, ENTRY),
        ]
        await asyncio.gather(*work[:: 1 if number % 2 else -1], return_exceptions=True)
        found = [await find_open_e_id(database, message) for message in (first, second)]
        assert found.count(7) == 1, found
    await other.close()


async def test_settler_and_operators_at_once_record_one_outcome(database: Database, database_url: str) -> None:
    other = open_database(database_url)
    decided = 0
    for number in range(1, 16):
        case = Case(OepInstance.EXTERNAL, number)
        message = await send(database, to_case(case=number))
        await stored.claim(database, case, NOW, LEASE)
        work: list[Any] = [
            stored.settle_case(database, case, ReadBack(NOW, NOW, [copy()]), NOW, RULES),
            decisions.mark_found(other, message.id, 8, NOW, NOW, ENTRY),
            decisions.mark_not_published(other, message.id, NOW, ENTRY),
        ]
        results = await asyncio.gather(*(work[number % 3 :] + work[: number % 3]))
        by_operators = results.count(True)
        assert by_operators <= 1
        decided += by_operators
        assert len(await audit_entries(database)) == decided
    await other.close()


async def find_open_e_id(database: Database, message: WebMessage) -> int | None:
    """Return Open-E's id of a message, None if it is not readable."""
    try:
        return await open_e_id(database, message)
    except NotFound:
        return None


RESEND_ENTRY = replace(ENTRY, outcome="resent")


async def read_for_resend(
    database: Database, message: WebMessage, *copies: CaseMessage, begun: datetime
) -> SettledCase | None:
    await stored.take_over(database, CASE, begun, LEASE)
    read_back = ReadBack(begun, NOW, copies)
    return await stored.settle_case(database, CASE, read_back, begun, RULES, stored.Resend(message.id, RESEND_ENTRY))


async def test_resend_waits_until_the_message_can_no_longer_arrive(database: Database) -> None:
    message, other = await send(database, to_case()), await send(database, to_case("another"))
    await add_key(database, message)
    for begun in (NOW, CERTAIN - SECOND):
        settled = await read_for_resend(database, message, begun=begun)
        assert settled is not None
        assert (settled.resent, settled.not_published) == (None, ())
        # The service does not delete it meanwhile.
        assert await stored.claim(database, CASE, begun + LEASE, LEASE) is None
    settled = await read_for_resend(database, message, begun=CERTAIN)
    assert settled is not None
    assert (settled.resent, settled.not_published) == (CERTAIN, (other.id,))
    assert [entry.outcome for entry in await audit_entries(database)] == ["resent", "not_published"]
    assert (await count_rows(database))["idempotency_keys"] == 1
    # Its call may run now.
    assert await stored.find_case(database, message.id, CERTAIN) is None
    settled = await read_for_resend(database, message, begun=CERTAIN + SECOND)
    assert settled is None or settled.resent is None


async def test_resend_of_a_message_on_its_case_sends_nothing(database: Database) -> None:
    message = await send(database, to_case())
    settled = await read_for_resend(database, message, copy(), begun=CERTAIN)
    assert settled is not None
    assert (settled.found, settled.resent) == ({message.id: 7}, None)
    assert await open_e_id(database, message) == 7


async def test_outcome_of_an_earlier_call_does_not_change_a_message_that_was_sent_again(database: Database) -> None:
    message = await send(database, to_case())
    assert (await read_for_resend(database, message, begun=NOW)) is not None
    assert (await read_for_resend(database, message, begun=CERTAIN)) is not None
    await web_messages.drop_refused(database, message.id, NOW)
    await web_messages.mark_unknown(database, message.id, NOW)
    assert await stored.is_unsettled(database, message.id)
    assert await stored.find_case(database, message.id, CERTAIN) is None
    await web_messages.drop_refused(database, message.id, CERTAIN)
    assert not await stored.is_unsettled(database, message.id)


async def test_old_traces_and_claims_are_removed(database: Database) -> None:
    published = to_case()
    await web_messages.begin_sending(database, published, NOW)
    await web_messages.mark_published(database, published, 7, NOW)
    await web_messages.delete(database, published.id)
    in_doubt = await send(database, to_case(case=9))
    await decisions.delete_in_doubt(database, in_doubt.id, NOW, ENTRY)
    await stored.claim(database, CASE, NOW, LEASE)
    week = NOW + decisions.TRACE_AGE
    await decisions.remove_old(database, NOW + LEASE)
    assert (await count_rows(database))["publication_traces"] == 2
    await decisions.remove_old(database, week)
    rows = await count_rows(database)
    assert (rows["publication_traces"], rows.get("settlements")) == (2, None)
    await stored.claim(database, CASE, week, LEASE)
    await decisions.remove_old(database, week + SECOND)
    assert (await count_rows(database))["publication_traces"] == 2
    await decisions.remove_old(database, week + timedelta(hours=2))
    await decisions.remove_old(database, week + timedelta(hours=2))
    assert (await count_rows(database))["publication_traces"] == 1
