"""Settle messages in doubt in the database: claims, outcomes, taken ids, traces."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import Conflict, NotFound
from domain.publications import CallTimes, Case, CaseMessage, SettlingRules, fingerprint_shown
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from persistence import audit, tables, web_messages
from persistence import publication_decisions as decisions
from persistence import publications as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.publications import DueCase, ReadBack, SettledCase
from persistence.work import short_read, short_write
from tests.factories import NOW, attachment, web_message
from tests.persistence.rows import counts

pytestmark = pytest.mark.anyio

CASE = Case(OepInstance.EXTERNAL, 1068)
TIMES = CallTimes(timedelta(seconds=35), timedelta(seconds=20))
RULES = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(seconds=2))
LEASE = timedelta(seconds=10)
CERTAIN = NOW + TIMES.until_absent
SECOND = timedelta(seconds=1)
ENTRY = AuditEntry(WEB_MESSAGES, "change", NOW, "deleteWebMessageById", "tests", "deleted_in_doubt", "r1")


def to_case(text: str = "Hej", case: int = 1068, **changes: Any) -> WebMessage:
    references = (ExternalReference("flowInstanceId", str(case)), ExternalReference("errand", "1"))
    return web_message(**{"message": text, "external_references": references, "created": None} | changes)


async def send(database: Database, message: WebMessage, sent: datetime = NOW, *, is_unknown: bool = True) -> WebMessage:
    """Store a message whose response was lost, or that is still being sent."""
    await web_messages.begin_sending(database, message, sent)
    if is_unknown:
        await web_messages.mark_unknown(database, message.id)
    return message


def copy(number: int = 7, text: str = "Hej", files: Any = (), minute: datetime = NOW) -> CaseMessage:
    shown = minute.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
    return CaseMessage(number, fingerprint_shown(text, files, None), shown)


async def settle(
    database: Database, *copies: CaseMessage, begun: datetime = NOW, now: datetime | None = None, since: datetime = NOW
) -> SettledCase | None:
    await stored.claim(database, CASE, now or begun, LEASE)
    read_back = ReadBack(begun, since, copies)
    return await stored.settle_case(database, CASE, read_back, now or begun, RULES)


async def due_cases(database: Database, now: datetime = NOW, **options: Any) -> list[DueCase]:
    return await stored.list_due_cases(database, now, RULES, 10, **options)


async def open_e_id(database: Database, message: WebMessage) -> int | None:
    """Return Open-E's id of a readable message. Raises `NotFound`."""
    await web_messages.get(database, message.id)

    @short_read
    def select(connection: sa.Connection) -> int | None:
        column = tables.web_messages.c.open_e_message_id
        return connection.scalar(sa.select(column).where(tables.web_messages.c.id == message.id))

    return await database.read(select)


async def add_key(database: Database, message: WebMessage) -> None:
    @short_write
    def insert(connection: sa.Connection) -> None:
        values = {"caller": "c", "operation": "o", "key": message.id, "fingerprint": b"f", "message_id": message.id}
        connection.execute(tables.idempotency_keys.insert(), values | {"created": NOW})

    await database.write(insert)


async def audit_entries(database: Database) -> list[AuditEntry]:
    return [each.entry for _, each in await audit.list_page(database, after=0, limit=100, chain=WEB_MESSAGES)]


async def test_list_due_cases_returns_cases_in_doubt_with_their_oldest_message(database: Database) -> None:
    assert await due_cases(database) == []
    await send(database, to_case(), NOW)
    await send(database, to_case(), NOW - SECOND, is_unknown=False)
    await send(database, to_case(case=7), NOW - 3 * SECOND)
    await send(database, to_case(case=8), NOW, is_unknown=False)
    await web_messages.store(database, web_message())
    expected = [DueCase(Case(OepInstance.EXTERNAL, 7), NOW - 3 * SECOND), DueCase(CASE, NOW - SECOND)]
    assert await due_cases(database) == expected
    assert await due_cases(database, except_for=OepInstance.EXTERNAL) == []
    later = await due_cases(database, NOW + TIMES.longest_call + SECOND)
    assert [each.case.flow_instance_id for each in later] == [7, 1068, 8]


async def test_claim_is_a_lease_that_others_respect_until_it_ends(database: Database) -> None:
    await send(database, to_case())
    assert await stored.claim(database, CASE, NOW, LEASE) == 0
    assert await stored.claim(database, CASE, NOW + LEASE - SECOND, LEASE) is None
    assert await due_cases(database, NOW + LEASE - SECOND) == []
    assert await stored.claim(database, CASE, NOW + LEASE, LEASE) == 0


async def test_only_one_of_many_concurrent_claims_succeeds(database: Database, database_url: str) -> None:
    other = open_database(database_url)
    claims = [stored.claim(each, CASE, NOW, LEASE) for each in (database, other) * 10]
    assert (await asyncio.gather(*claims)).count(0) == 1
    await other.close()


@pytest.mark.parametrize("is_unknown", [True, False])
async def test_message_on_its_case_becomes_readable(database: Database, is_unknown: bool) -> None:
    file = attachment(b"abc", "a.txt")
    message = await send(database, to_case("Hej\nå", attachments=(file,)), is_unknown=is_unknown)
    await add_key(database, message)
    now = NOW + TIMES.longest_call + SECOND
    settled = await settle(database, copy(7, "Hej\r\nå", [("a.txt", 3)]), begun=now)
    assert settled == SettledCase({message.id: 7}, (), (), 0, 0)
    found = await web_messages.get(database, message.id)
    assert (found.created, found.message) == (now, "Hej\nå")
    assert await open_e_id(database, message) == 7
    assert [each.id for each in await web_messages.list_by_reference(database, message.external_references[1], 5, None)]
    assert await due_cases(database, now) == []
    rows = await counts(database)
    assert (rows.get("settlements"), rows["idempotency_keys"]) == (None, 1)
    # A record of the outcome that arrives late changes nothing.
    await web_messages.mark_published(database, message, 8, now)
    await web_messages.drop_refused(database, message.id)
    assert await open_e_id(database, message) == 7


async def test_long_text_is_found_too(database: Database) -> None:
    message = await send(database, to_case("å" * 100_000))
    settled = await settle(database, copy(7, "å" * 100_000))
    assert settled is not None
    assert settled.found == {message.id: 7}


async def test_absent_message_stays_in_doubt_until_it_can_no_longer_arrive(database: Database) -> None:
    message = await send(database, to_case(attachments=(attachment(),)))
    await add_key(database, message)
    for begun in (NOW, CERTAIN - SECOND):
        settled = await settle(database, copy(7, "other"), begun=begun, now=CERTAIN + SECOND)
        assert settled == SettledCase({}, (), (), 0, 1)
    settled = await settle(database, begun=CERTAIN, now=CERTAIN + 20 * SECOND)
    assert settled == SettledCase({}, (message.id,), (), 0, 0)
    rows = await counts(database)
    assert {*rows} <= {"audit_entries", "chains", "alembic_version"}
    [entry] = await audit_entries(database)
    assert (entry.operation, entry.outcome, entry.detail["messageId"]) == (
        "settleWebMessage",
        "not_published",
        message.id,
    )
    assert (await audit.verify(database))[1] is None


async def test_absence_is_confirmed_a_margin_after_open_e_answers_again(database: Database) -> None:
    await send(database, to_case())
    await stored.claim(database, CASE, NOW, LEASE)
    await stored.record_failure(database, CASE, NOW)
    late = CERTAIN + timedelta(hours=1)
    settled = await settle(database, begun=late)
    assert settled is not None
    assert (settled.failures, settled.in_doubt) == (1, 1)
    settled = await settle(database, begun=late + TIMES.margin - SECOND, now=late + TIMES.margin + 30 * SECOND)
    assert settled is not None
    assert (settled.failures, settled.in_doubt) == (0, 1)
    settled = await settle(database, begun=late + TIMES.margin, now=late + TIMES.margin + 60 * SECOND)
    assert settled is not None
    assert len(settled.not_published) == 1


async def test_message_that_was_not_read_back_is_not_absent(database: Database) -> None:
    await send(database, to_case(), NOW - SECOND)
    for begun in (CERTAIN - TIMES.margin, CERTAIN):
        settled = await settle(database, begun=begun, since=NOW)
        assert settled is not None
        assert settled.not_published == ()
    assert len(await due_cases(database, CERTAIN + LEASE)) == 1


async def test_waiting_case_is_read_less_often_and_exactly_when_absence_is_certain(database: Database) -> None:
    await send(database, to_case())
    now, waits = NOW, []
    while await stored.claim(database, CASE, now, LEASE) is not None:
        settled = await stored.settle_case(database, CASE, ReadBack(now, NOW, ()), now, RULES)
        assert settled is not None
        if not settled.in_doubt:
            break
        begun = now
        while not await due_cases(database, now):
            now += SECOND / 2
        waits.append((now - begun).total_seconds())
    assert now == CERTAIN
    assert waits == [2, 2, 4, 8, 16, 16, 16, 1]


async def test_failures_are_counted_and_a_success_pulls_the_other_cases_forward(database: Database) -> None:
    other, internal = Case(OepInstance.EXTERNAL, 7), Case(OepInstance.INTERNAL, 7)
    await send(database, to_case())
    for case in (CASE, other, internal):
        await stored.claim(database, case, NOW, LEASE)
        await stored.record_failure(database, case, NOW + 60 * SECOND)
    await stored.record_failure(database, CASE, NOW)
    assert await stored.claim(database, CASE, NOW, LEASE) == 2
    await settle(database, copy(7))
    assert await stored.claim(database, other, NOW, LEASE) == 1
    assert await stored.claim(database, internal, NOW, LEASE) is None


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_id_of_another_message_is_taken(database: Database, is_deleted: bool) -> None:
    first = to_case()
    await web_messages.begin_sending(database, first, NOW)
    await web_messages.mark_published(database, first, 7, NOW)
    if is_deleted:
        await web_messages.delete(database, first.id)
    second = await send(database, to_case())
    settled = await settle(database, copy(7))
    assert settled is not None
    assert settled.found == {}
    settled = await settle(database, copy(7), copy(9), begun=NOW + LEASE)
    assert settled is not None
    assert settled.found == {second.id: 9}


async def test_id_that_another_instance_or_case_uses_is_free(database: Database) -> None:
    for first in (to_case(oep_instance=OepInstance.INTERNAL), to_case(case=7)):
        await web_messages.begin_sending(database, first, NOW)
        await web_messages.mark_published(database, first, 7, NOW)
        await web_messages.delete(database, first.id)
    message = await send(database, to_case())
    settled = await settle(database, copy(7))
    assert settled is not None
    assert settled.found == {message.id: 7}


async def test_message_waits_for_an_equal_call_and_then_gets_the_other_copy(database: Database) -> None:
    first = await send(database, to_case())
    running = await send(database, to_case(), NOW + SECOND, is_unknown=False)
    settled = await settle(database, copy(7))
    assert settled is not None
    assert (settled.found, settled.in_doubt) == ({}, 1)
    await web_messages.mark_published(database, running, 7, NOW + SECOND)
    settled = await settle(database, copy(7), copy(9), begun=NOW + LEASE)
    assert settled is not None
    assert settled.found == {first.id: 9}


async def test_copy_of_an_earlier_day_is_taken_in_any_time_zone(database: Database) -> None:
    first = to_case()
    await web_messages.begin_sending(database, first, NOW)
    await web_messages.mark_published(database, first, 7, NOW)
    later = NOW + timedelta(hours=9)
    await send(database, to_case(), later)
    await stored.claim(database, CASE, later, LEASE)
    rules = replace(RULES, zone=ZoneInfo("Asia/Tokyo"))
    read_back = ReadBack(later, later, [copy(7, minute=later)])
    settled = await stored.settle_case(database, CASE, read_back, later, rules)
    assert settled is not None
    assert settled.found == {}


async def test_processes_that_settle_together_give_a_copy_to_one_message(database: Database, database_url: str) -> None:
    others = [open_database(database_url) for _ in range(4)]
    messages = [await send(database, to_case()) for _ in range(6)]
    await stored.claim(database, CASE, NOW, LEASE)
    read_back = ReadBack(NOW, NOW, [copy(number) for number in range(1, 5)])
    results = await asyncio.gather(
        *(stored.settle_case(each, CASE, read_back, NOW, RULES) for each in (database, *others) * 2)
    )
    found = [message_id for result in results if result is not None for message_id in result.found]
    assert sorted(found) == sorted({*found})
    ids = []
    for message in messages:
        try:
            ids.append(await open_e_id(database, message))
        except NotFound:
            continue
    assert sorted(ids, key=str) == [1, 2, 3, 4]
    for other in others:
        await other.close()


async def test_settling_after_the_case_has_ended_changes_nothing(database: Database) -> None:
    await send(database, to_case())
    assert await stored.settle_case(database, CASE, ReadBack(CERTAIN, NOW, ()), CERTAIN, RULES) is None
    assert (await counts(database))["web_messages"] == 1


async def test_undecidable_messages_are_reported(database: Database) -> None:
    message = await send(database, to_case())
    settled = await settle(database, copy(7), copy(8))
    assert settled is not None
    assert (settled.found, settled.undecidable) == ({message.id: 7}, (message.id,))


async def test_deleted_message_in_doubt_leaves_a_trace_without_content(database: Database) -> None:
    message = await send(database, to_case("hemligt", attachments=(attachment(),), sender_user_id="joe01doe"))
    await add_key(database, message)
    assert await decisions.delete_in_doubt(database, message.id, NOW, ENTRY)
    rows = await counts(database)
    assert {name for name in rows if name.startswith("web_message")} == set()
    assert (rows["publication_traces"], rows["idempotency_keys"]) == (1, 1)
    [entry] = await audit_entries(database)
    assert (entry.outcome, entry.caller) == ("deleted_in_doubt", "tests")
    assert entry.detail == {
        "messageId": message.id,
        "oepInstance": "external",
        "flowInstanceId": 1068,
        "sent": "2026-03-01T12:00:00.123+00:00",
    }
    assert not await decisions.delete_in_doubt(database, message.id, NOW, ENTRY)
    assert await stored.find_case(database, message.id, NOW) == DueCase(CASE, NOW)
    assert await due_cases(database) == [DueCase(CASE, NOW)]


async def test_trace_is_settled_like_a_message(database: Database) -> None:
    first, second = [await send(database, to_case(), NOW + number * SECOND) for number in range(2)]
    for message in (first, second):
        await add_key(database, message)
        await decisions.delete_in_doubt(database, message.id, NOW + LEASE, ENTRY)
    third = await send(database, to_case(), NOW + 2 * SECOND)
    settled = await settle(database, copy(7))
    assert settled is not None
    assert settled.found == {first.id: 7}
    settled = await settle(database, copy(7), begun=CERTAIN + 2 * SECOND)
    assert settled is not None
    assert settled.found == {}
    assert {*settled.not_published} == {second.id, third.id}
    rows = await counts(database)
    assert (rows["publication_traces"], rows["idempotency_keys"]) == (1, 1)
    assert await stored.find_case(database, first.id, NOW) is None


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
    rows = await counts(database)
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
    assert (await counts(database))["idempotency_keys"] == 1
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


async def test_list_cases_in_doubt_returns_claimed_cases_too(database: Database) -> None:
    await send(database, to_case())
    await send(database, to_case(case=8), is_unknown=False)
    await stored.claim(database, CASE, NOW, LEASE)
    assert await stored.list_cases_in_doubt(database, NOW) == [DueCase(CASE, NOW)]


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
    assert (await counts(database))["publication_traces"] == 2
    await decisions.remove_old(database, week)
    rows = await counts(database)
    assert (rows["publication_traces"], rows.get("settlements")) == (2, None)
    await stored.claim(database, CASE, week, LEASE)
    await decisions.remove_old(database, week + SECOND)
    assert (await counts(database))["publication_traces"] == 2
    await decisions.remove_old(database, week + timedelta(hours=2))
    await decisions.remove_old(database, week + timedelta(hours=2))
    assert (await counts(database))["publication_traces"] == 1
