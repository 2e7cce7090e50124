"""Settle messages in doubt in the database: claims, outcomes, taken ids, traces."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.errors import NotFound
from domain.publications import Case
from domain.web_messages import OepInstance
from persistence import audit, web_message_lists, web_messages
from persistence import publication_decisions as decisions
from persistence import publications as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.publications import DueCase, ReadBack, SettledCase
from tests.factories import NOW, build_attachment, build_web_message
from tests.persistence.publication_steps import (
    CASE,
    CERTAIN,
    ENTRY,
    LEASE,
    RULES,
    SECOND,
    TIMES,
    add_key,
    audit_entries,
    copy,
    due_cases,
    open_e_id,
    send,
    settle,
    to_case,
)
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_list_due_cases_returns_cases_in_doubt_with_their_oldest_message(database: Database) -> None:
    assert await due_cases(database) == []
    await send(database, to_case(), NOW)
    await send(database, to_case(), NOW - SECOND, is_unknown=False)
    await send(database, to_case(case=7), NOW - 3 * SECOND)
    await send(database, to_case(case=8), NOW, is_unknown=False)
    await web_messages.store(database, build_web_message())
    expected = [DueCase(Case(OepInstance.EXTERNAL, 7), NOW - 3 * SECOND), DueCase(CASE, NOW - SECOND)]
    assert await due_cases(database) == expected
    assert await due_cases(database, except_for=[OepInstance.EXTERNAL]) == []
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
    file = build_attachment(b"abc", "a.txt")
    message = await send(database, to_case("Hej\nå", attachments=(file,)), is_unknown=is_unknown)
    await add_key(database, message)
    now = NOW + TIMES.longest_call + SECOND
    settled = await settle(database, copy(7, "Hej\r\nå", [("a.txt", 3)]), begun=now)
    assert settled == SettledCase({message.id: 7}, (), (), 0, 0)
    found = await web_messages.get(database, message.id)
    assert (found.created, found.message) == (now, "Hej\nå")
    assert await open_e_id(database, message) == 7
    assert await web_message_lists.list_by_reference(database, message.external_references[1], 5, None)
    assert await due_cases(database, now) == []
    rows = await count_rows(database)
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
    message = await send(database, to_case(attachments=(build_attachment(),)))
    await add_key(database, message)
    for begun in (NOW, CERTAIN - SECOND):
        settled = await settle(database, copy(7, "other"), begun=begun, now=CERTAIN + SECOND)
        assert settled == SettledCase({}, (), (), 0, 1)
    settled = await settle(database, begun=CERTAIN, now=CERTAIN + 20 * SECOND)
    assert settled == SettledCase({}, (message.id,), (), 0, 0)
    rows = await count_rows(database)
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


async def test_id_that_another_open_e_or_case_uses_is_free(database: Database) -> None:
    for first in (to_case(oep_instance=OepInstance.INTERNAL), to_case(own_open_e="2281/external"), to_case(case=7)):
        await web_messages.begin_sending(database, first, NOW)
        await web_messages.mark_published(database, first, 7, NOW)
        await web_messages.delete(database, first.id)
    message = await send(database, to_case())
    settled = await settle(database, copy(7))
    assert settled is not None
    assert settled.found == {message.id: 7}


async def test_cases_of_a_municipality_with_its_own_open_e_are_separate(database: Database) -> None:
    shared, own = to_case(), to_case(municipality_id="2281", own_open_e="2281/external")
    await send(database, shared)
    await send(database, own, NOW + SECOND)
    assert [each.case for each in await due_cases(database)] == [CASE, Case("2281/external", 1068)]
    due = await due_cases(database, except_for=["external"])
    assert [each.case for each in due] == [Case("2281/external", 1068)]
    settled = await settle(database, copy(7))
    assert settled is not None
    assert settled.found == {shared.id: 7}
    assert await web_messages.find_unsettled(database, own.id) == own
    settled = await settle(database, copy(7), case=Case("2281/external", 1068))
    assert settled is not None
    assert settled.found == {own.id: 7}


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
    assert (await count_rows(database))["web_messages"] == 1


async def test_undecidable_messages_are_reported(database: Database) -> None:
    message = await send(database, to_case())
    settled = await settle(database, copy(7), copy(8))
    assert settled is not None
    assert (settled.found, settled.undecidable) == ({message.id: 7}, (message.id,))


async def test_deleted_message_in_doubt_leaves_a_trace_without_content(database: Database) -> None:
    message = await send(database, to_case("hemligt", attachments=(build_attachment(),), sender_user_id="joe01doe"))
    await add_key(database, message)
    assert await decisions.delete_in_doubt(database, message.id, NOW, ENTRY)
    rows = await count_rows(database)
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
    rows = await count_rows(database)
    assert (rows["publication_traces"], rows["idempotency_keys"]) == (1, 1)
    assert await stored.find_case(database, first.id, NOW) is None


async def test_list_cases_in_doubt_returns_claimed_cases_too(database: Database) -> None:
    await send(database, to_case())
    await send(database, to_case(case=8), is_unknown=False)
    await stored.claim(database, CASE, NOW, LEASE)
    assert await stored.list_cases_in_doubt(database, NOW) == [DueCase(CASE, NOW)]
