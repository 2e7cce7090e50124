"""Settle messages in doubt: claim their cases, and record what is on them (decision 0026).

One process at a time settles a case. The claim in `settlements` is a lease, which is only an optimisation; the lock on
its row serialises the decisions. A message changes its state once: every change is conditional on the state in doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.publications import (
    Case,
    CaseMessage,
    Fingerprint,
    Publication,
    Settlement,
    SettlingRules,
    fingerprint_sent,
    settle,
)
from domain.web_messages import FLOW_INSTANCE_ID, ExternalReference, MessageState, OpenEName, WebMessage
from persistence import audit
from persistence.database import Database
from persistence.idempotency_keys import free_keys
from persistence.prepared import PreparedStatement
from persistence.tables import IS_UNSETTLED, IS_UNSETTLED_TRACE
from persistence.tables import publication_traces as traces_table
from persistence.tables import settlements as settlements_table
from persistence.tables import web_message_references as references_table
from persistence.tables import web_messages as messages_table
from persistence.web_message_inserts import insert_references_and_events, with_references_and_event
from persistence.work import long_write, mark, short_read

Row = sa.Row[*tuple[Any, ...]]

LONGEST_WAIT = timedelta(seconds=16)
"""Maximum time until a case is read again on which a message in doubt was not found yet."""

_TAKEN_SINCE = timedelta(hours=15)
"""Copies with the same minute, in any time zone of Open-E, became readable at most this long before a message."""

_SHORT_TEXT = 65_536
"""Longer texts are read one at a time."""


@dataclass(frozen=True, slots=True)
class DueCase:
    """A case with messages in doubt. `since` is when the oldest message without a recorded outcome was sent."""

    case: Case
    since: datetime


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The messages of a case as Open-E showed them to a request that began at `begun`, about messages since `since`."""

    begun: datetime
    since: datetime
    messages: Sequence[CaseMessage]


@dataclass(frozen=True, slots=True)
class SettledCase:
    """The result of one settlement: Open-E's ids by message, messages that were not published, undecidable ones.

    `failures` is the number of reads that had failed before, and `in_doubt` the number of messages still in doubt.
    `resent` is the new time of the message of the `Resend`, which must be sent now, None for none.
    """

    found: dict[str, int]
    not_published: tuple[str, ...]
    undecidable: tuple[str, ...]
    failures: int
    in_doubt: int
    resent: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """A message that is sent again, instead of deleted, once it can no longer arrive, with its entry for the audit."""

    message_id: str
    entry: AuditEntry


async def list_due_cases(
    database: Database, now: datetime, rules: SettlingRules, limit: int, except_for: Sequence[OpenEName] = ()
) -> list[DueCase]:
    """Return cases with messages in doubt that no process works on, oldest first, except those of some Open-Es."""
    before = now - rules.times.longest_call
    return await database.read(_list_due_cases, now, before, limit, list(map(str, except_for)))


async def list_cases_in_doubt(database: Database, before: datetime) -> list[DueCase]:
    """Return all cases with messages in doubt, oldest message first. `before` is as in `is_in_doubt`."""
    return await database.read(_list_due_cases, ANY_TIME, before, _NO_LIMIT, [])


async def find_case(database: Database, message_id: str, before: datetime) -> DueCase | None:
    """Return the case of a message in doubt, also if it was deleted. Return None if there is none.

    A message that is still `sending` is in doubt if it was sent before `before`.
    """
    return await database.read(_find_case, message_id, before)


async def is_unsettled(database: Database, message_id: str) -> bool:
    """Return whether a message exists without a recorded outcome: in doubt, or being sent."""
    return await database.read(_is_unsettled, message_id)


async def find_oldest(database: Database, before: datetime) -> datetime | None:
    """Return when the oldest message in doubt was sent, also if it was deleted. `before` is as in `find_case`."""
    return await database.read(_find_oldest, before)


async def claim(database: Database, case: Case, now: datetime, lease: timedelta) -> int | None:
    """Claim a case for the time of a lease. Return the number of failed reads in a row, or None if it is not due."""
    return await database.mark(_claim, case, now, now + lease)


async def take_over(database: Database, case: Case, now: datetime, lease: timedelta) -> None:
    """Claim a case for an operator, whether it is due or not. Another process that works on it does no harm."""
    await database.mark(claim_at_once, case, now + lease)


async def record_failure(database: Database, case: Case, due: datetime) -> None:
    """Record that a claimed case could not be read, and when to try again."""
    await database.mark(_record_failure, case, due)


async def settle_case(
    database: Database,
    case: Case,
    read_back: ReadBack,
    now: datetime,
    rules: SettlingRules,
    resend: Resend | None = None,
) -> SettledCase | None:
    """Record the outcomes of the messages in doubt of a claimed case. Return None if another process has ended it.

    Messages on the case become readable now. Messages that are absent, and can no longer arrive, are deleted, except
    for the one of `resend`: it becomes `sending`, sent now, and its call must begin.
    """
    settled = await database.write(_settle_case, case, read_back, now, rules, resend)
    if settled is not None and settled.failures:
        await database.mark(_pull_forward, case.open_e, now)
    return settled


_m, _t, _s = messages_table.c, traces_table.c, settlements_table.c
OPEN_E = sa.func.coalesce(_m.own_open_e, _m.oep_instance).label("oep_instance")
"""The name of the Open-E of a message, as it is stored with traces and claims."""
_IS_UNSETTLED = sa.text(IS_UNSETTLED)
_IS_UNSETTLED_TRACE = sa.text(IS_UNSETTLED_TRACE)
IS_IN_DOUBT = (_m.state != str(MessageState.SENDING)) | (_m.sent < sa.bindparam("before"))
_IS_CASE = (
    _s.oep_instance == sa.bindparam("instance"),
    _s.flow_instance_id == sa.bindparam("number"),
)

_UNSETTLED = sa.union_all(
    sa.select(OPEN_E, _m.flow_instance_id, _m.sent, sa.case((IS_IN_DOUBT, 1), else_=0).label("in_doubt")).where(
        _IS_UNSETTLED
    ),
    sa.select(_t.oep_instance, _t.flow_instance_id, _t.sent, sa.literal_column("1")).where(_IS_UNSETTLED_TRACE),
).subquery()
_CASES = (
    sa.select(_UNSETTLED.c.oep_instance, _UNSETTLED.c.flow_instance_id, sa.func.min(_UNSETTLED.c.sent).label("since"))
    .group_by(_UNSETTLED.c.oep_instance, _UNSETTLED.c.flow_instance_id)
    .having(sa.func.max(_UNSETTLED.c.in_doubt) == 1)
    .subquery()
)
_DUE_CASES = (
    sa.select(_CASES.c.oep_instance, _CASES.c.flow_instance_id, _CASES.c.since)
    .outerjoin(
        settlements_table,
        (_s.oep_instance == _CASES.c.oep_instance) & (_s.flow_instance_id == _CASES.c.flow_instance_id),
    )
    .where(
        _s.due.is_(None) | (_s.due <= sa.bindparam("now")),
        _CASES.c.oep_instance.not_in(sa.bindparam("except_for", expanding=True)),
    )
    .order_by(_CASES.c.since)
    .limit(sa.bindparam("limit"))
)
_OF_A_CASE = (OPEN_E.element == sa.bindparam("instance"), _m.flow_instance_id == sa.bindparam("number"))
_ROWS = (
    sa.select(
        _m.id,
        _m.state,
        _m.sent,
        _m.sender_user_id,
        _m.is_from_owner,
        _m.attachments,
        _m.external_references,
        sa.case((sa.func.length(_m.message) <= _SHORT_TEXT, _m.message)).label("text"),
    )
    .where(_IS_UNSETTLED, *_OF_A_CASE)
    .order_by(_m.sent, _m.id)
)
_TEXT = sa.select(_m.message).where(_m.id == sa.bindparam("message_id"))
_TRACES = sa.select(_t.message_id, _t.sent, _t.open_e_message_id, _t.fingerprint).where(
    _t.oep_instance == sa.bindparam("instance"), _t.flow_instance_id == sa.bindparam("number")
)
_TAKEN = (
    sa.select(_m.open_e_message_id)
    .join(references_table, references_table.c.message_id == _m.id)
    .where(
        references_table.c.key == FLOW_INSTANCE_ID,
        references_table.c.value == sa.bindparam("value"),
        references_table.c.created >= sa.bindparam("created_since", type_=references_table.c.created.type),
        OPEN_E.element == sa.bindparam("instance"),
        _m.open_e_message_id.is_not(None),
    )
)
_IS_THIS = _m.id == sa.bindparam("message_id")
_FIND = (
    messages_table.update()
    .where(_IS_THIS, _IS_UNSETTLED)
    .values(
        state=str(MessageState.PUBLISHED),
        created=sa.bindparam("created"),
        open_e_message_id=sa.bindparam("open_e_message_id"),
    )
)
_FIND_ROW = PreparedStatement(_FIND.returning(_m.id))
_FIND_ALL = PreparedStatement(with_references_and_event(_FIND))
DELETE_UNSETTLED = messages_table.delete().where(_IS_THIS, _IS_UNSETTLED)
_CASE_OF = sa.union_all(
    sa.select(OPEN_E, _m.flow_instance_id).where(_IS_THIS, _IS_UNSETTLED, IS_IN_DOUBT),
    sa.select(_t.oep_instance, _t.flow_instance_id).where(
        _t.message_id == sa.bindparam("message_id"), _IS_UNSETTLED_TRACE
    ),
)
_SINCE = sa.select(sa.func.min(_UNSETTLED.c.sent, type_=_m.sent.type)).where(
    _UNSETTLED.c.oep_instance == sa.bindparam("instance"), _UNSETTLED.c.flow_instance_id == sa.bindparam("number")
)
_OLDEST = (
    sa.select(_m.sent).where(_IS_UNSETTLED, IS_IN_DOUBT).order_by(_m.sent).limit(1),
    sa.select(_t.sent).where(_IS_UNSETTLED_TRACE).order_by(_t.sent).limit(1),
)
_LOCK = sa.select(_s.failures, _s.answered).where(*_IS_CASE).with_for_update()
_WAIT = (
    settlements_table.update()
    .where(*_IS_CASE)
    .values(due=sa.bindparam("next_due"), failures=0, answered=sa.bindparam("first_answered"))
)
_END = settlements_table.delete().where(*_IS_CASE)
_FAIL = (
    settlements_table.update()
    .where(*_IS_CASE)
    .values(due=sa.bindparam("next_due"), failures=_s.failures + 1, answered=None)
)
_PULL_FORWARD = (
    settlements_table.update()
    .where(_s.oep_instance == sa.bindparam("instance"), _s.failures > 0, _s.due > sa.bindparam("next_due"))
    .values(due=sa.bindparam("next_due"))
)


_RESEND = (
    messages_table.update()
    .where(_IS_THIS, _IS_UNSETTLED)
    .values(state=str(MessageState.SENDING), sent=sa.bindparam("resent"))
)
ANY_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_NO_LIMIT = 2**31 - 1


def _insert_claim(dialect: sa.Dialect) -> Any:
    insert = (postgresql.insert if dialect.name == "postgresql" else sqlite.insert)(settlements_table)
    return insert.on_conflict_do_update(
        index_elements=["oep_instance", "flow_instance_id"],
        set_={"due": insert.excluded.due},
        where=_s.due <= sa.bindparam("now", type_=_s.due.type),
    ).returning(_s.failures)


def _parameters(case: Case) -> dict[str, Any]:
    return {"instance": str(case.open_e), "number": case.flow_instance_id}


@short_read
def _list_due_cases(
    connection: sa.Connection, now: datetime, before: datetime, limit: int, except_for: list[str]
) -> list[DueCase]:
    parameters = {"now": now, "before": before, "limit": limit, "except_for": except_for}
    rows = connection.execute(_DUE_CASES, parameters)
    return [DueCase(Case(open_e, number), since) for open_e, number, since in rows]


@short_read
def _find_case(connection: sa.Connection, message_id: str, before: datetime) -> DueCase | None:
    found = connection.execute(_CASE_OF, {"message_id": message_id, "before": before}).first()
    if found is None:
        return None
    case = Case(found.oep_instance, found.flow_instance_id)
    since = connection.scalar(_SINCE, _parameters(case) | {"before": before})
    return None if since is None else DueCase(case, since)


@short_read
def _find_oldest(connection: sa.Connection, before: datetime) -> datetime | None:
    found = [connection.scalar(statement, {"before": before}) for statement in _OLDEST]
    return min((sent for sent in found if sent is not None), default=None)


@short_read
def _is_unsettled(connection: sa.Connection, message_id: str) -> bool:
    return (
        connection.execute(sa.select(_m.id).where(_IS_THIS, _IS_UNSETTLED), {"message_id": message_id}).first()
        is not None
    )


@mark
def _claim(connection: sa.Connection, case: Case, now: datetime, due: datetime) -> int | None:
    values = {"oep_instance": str(case.open_e), "flow_instance_id": case.flow_instance_id}
    values |= {"due": due, "failures": 0, "now": now}
    failures: int | None = connection.execute(_insert_claim(connection.dialect), values).scalar()
    return failures


@mark
def claim_at_once(connection: sa.Connection, case: Case, due: datetime) -> None:
    """Claim a case whether it is due or not. In a transaction, this serialises decisions about its messages."""
    _claim(connection, case, ANY_TIME, due)


@mark
def _record_failure(connection: sa.Connection, case: Case, due: datetime) -> None:
    connection.execute(_FAIL, _parameters(case) | {"next_due": due})


@mark
def _pull_forward(connection: sa.Connection, instance: OpenEName, now: datetime) -> None:
    connection.execute(_PULL_FORWARD, {"instance": str(instance), "next_due": now})


@long_write
def _settle_case(
    connection: sa.Connection,
    case: Case,
    read_back: ReadBack,
    now: datetime,
    rules: SettlingRules,
    resend: Resend | None,
) -> SettledCase | None:
    claim_ = connection.execute(_LOCK, _parameters(case)).first()
    if claim_ is None:
        return None
    # Read the messages before the ids that are taken. An equal message whose call ends in between is then either still
    # in flight, so that others wait for it, or its id is taken.
    in_doubt_before = now - rules.times.longest_call
    messages = [row for row in connection.execute(_ROWS, _parameters(case)).all() if row.sent >= read_back.since]
    traces = connection.execute(_TRACES, _parameters(case)).all()
    publications = [_read_publication(connection, row, in_doubt_before) for row in messages]
    publications += [
        _read_trace(row) for row in traces if row.open_e_message_id is None and row.sent >= read_back.since
    ]
    taken = {row.open_e_message_id for row in traces}
    taken |= set(
        connection.execute(
            _TAKEN,
            _parameters(case) | {"value": str(case.flow_instance_id), "created_since": read_back.since - _TAKEN_SINCE},
        ).scalars()
    )
    plan = settle(publications, read_back.messages, taken, rules.zone)
    answered = claim_.answered or read_back.begun
    certain_at = {
        each.id: max(each.sent + rules.times.until_absent, answered + rules.times.margin)
        for each in publications
        if each.id in plan.absent
    }
    gone = [id_ for id_, moment in certain_at.items() if moment <= read_back.begun]
    in_doubt = sum(not each.is_in_flight for each in publications) - len(plan.found) - len(gone)
    _record_found(connection, messages, plan, now)
    resent = None
    if resend is not None and resend.message_id in gone:
        gone.remove(resend.message_id)
        sent = next(each.sent for each in publications if each.id == resend.message_id)
        resent = _begin_resending(connection, resend, describe(resend.message_id, case, sent), now)
    not_published = _record_absent(connection, case, publications, gone, now)
    if in_doubt:
        due = now + min(max(rules.interval, read_back.begun - answered), LONGEST_WAIT)
        due = min([due, *(moment for moment in certain_at.values() if moment > now)])
        if resend is not None:
            # Keep the claim, so that no other process deletes the message first.
            due = now + LONGEST_WAIT
        connection.execute(_WAIT, _parameters(case) | {"next_due": due, "first_answered": answered})
    else:
        connection.execute(_END, _parameters(case))
    return SettledCase(plan.found, not_published, plan.undecidable, claim_.failures, in_doubt, resent)


def _read_publication(connection: sa.Connection, row: Row, in_doubt_before: datetime) -> Publication:
    text = row.text
    if text is None:
        text = connection.scalar(_TEXT, {"message_id": row.id}) or ""
    fingerprint = fingerprint_sent(
        text, list_file_sizes(row), row.sender_user_id, is_from_owner=bool(row.is_from_owner)
    )
    is_in_flight = row.state == str(MessageState.SENDING) and row.sent >= in_doubt_before
    return Publication(row.id, row.sent, fingerprint, is_in_flight)


def _read_trace(row: Row) -> Publication:
    return Publication(row.message_id, row.sent, Fingerprint(*row.fingerprint))


def _record_found(connection: sa.Connection, messages: Sequence[Row], plan: Settlement, now: datetime) -> None:
    rows = [row for row in messages if row.id in plan.found]
    for row in rows:
        make_readable(connection, row, plan.found[row.id], now)
    for message_id in plan.found.keys() - {row.id for row in rows}:
        connection.execute(
            traces_table.update().where(_t.message_id == message_id, _IS_UNSETTLED_TRACE),
            {"open_e_message_id": plan.found[message_id], "fingerprint": None},
        )


def make_readable(connection: sa.Connection, row: Row, open_e_message_id: int | None, now: datetime) -> None:
    """Publish a message in doubt with references and event, as `persistence.web_messages` does after a response."""
    values = {"message_id": row.id, "open_e_message_id": open_e_message_id, "created": now}
    if connection.dialect.name == "postgresql":
        _FIND_ALL.execute_many(connection, [values])
    elif _FIND_ROW.execute(connection, **values):
        references = tuple(ExternalReference(key, value) for key, value in row.external_references)
        insert_references_and_events(connection, [(WebMessage(row.id, "", references), now)])


def _begin_resending(
    connection: sa.Connection, resend: Resend, detail: dict[str, Any], now: datetime
) -> datetime | None:
    if connection.execute(_RESEND, {"message_id": resend.message_id, "resent": now}).rowcount == 0:
        return None
    entry = replace(resend.entry, detail=detail)
    audit.append(connection, WEB_MESSAGES, audit.lock_chain(connection, WEB_MESSAGES), [entry])
    return now


def _record_absent(
    connection: sa.Connection, case: Case, publications: Sequence[Publication], gone: Sequence[str], now: datetime
) -> tuple[str, ...]:
    """Delete messages that were not published, and return their ids."""
    deleted = []
    for each in publications:
        if each.id not in gone:
            continue
        number = connection.execute(DELETE_UNSETTLED, {"message_id": each.id}).rowcount
        number += connection.execute(
            traces_table.delete().where(_t.message_id == each.id, _IS_UNSETTLED_TRACE)
        ).rowcount
        if number:
            deleted.append(each)
    if deleted:
        free_keys(connection, [each.id for each in deleted])
        entries = [
            AuditEntry(
                chain=WEB_MESSAGES,
                kind="change",
                time=now,
                operation="settleWebMessage",
                caller="-",
                outcome="not_published",
                request_id="-",
                detail=describe(each.id, case, each.sent),
            )
            for each in deleted
        ]
        audit.append(connection, WEB_MESSAGES, audit.lock_chain(connection, WEB_MESSAGES), entries)
    return tuple(each.id for each in deleted)


def list_file_sizes(row: Row) -> list[tuple[str, int]]:
    """Return the names and sizes of a message's files."""
    return [(file_name, size) for _, file_name, _, size, _ in row.attachments]


def describe(message_id: str, case: Case, sent: datetime) -> dict[str, Any]:
    """Return the detail of an audit entry about a message."""
    return {
        "messageId": message_id,
        "oepInstance": str(case.open_e),
        "flowInstanceId": case.flow_instance_id,
        "sent": sent.isoformat(timespec="milliseconds"),
    }
