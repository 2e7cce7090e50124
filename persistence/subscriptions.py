"""The subscriptions of systems: the sync, and what callers look up."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import AuditEntry
from domain.errors import BudkavleError
from domain.subscriptions import (
    Catalogue,
    Entry,
    Identity,
    MessageType,
    Subscription,
    SyncError,
    SyncPlan,
    plan_sync,
    write_time,
)
from persistence import audit
from persistence.database import Database, to_json
from persistence.tables import allowed_subscriptions, certificates, message_types
from persistence.tables import subscriptions as table

LARGE_ENTRIES = 200
"""Above this a sync is written as large."""


class SyncRefused(BudkavleError):
    """The set breaks rules; nothing was changed."""

    def __init__(self, errors: Sequence[SyncError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Sync:
    """One call: what is wanted for which system, and how it is told in the audit."""

    system_id: str
    wanted: Sequence[Entry]
    now: datetime
    caller: str
    request_id: str
    is_dry_run: bool = False
    is_refused_anyway: bool = False
    """The request breaks its contract: only what else is wrong is asked."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did, or would have done."""

    created: int
    updated: int
    deleted: int
    unchanged: int
    dropped_messages: int


async def sync(database: Database, call: Sync) -> SyncResult:
    """Makes the set of a system what the call wants, in one transaction, with its audit.

    Raises `SyncRefused` with every rule that is broken; then nothing was changed, and the call is not in the audit.
    """
    write = database.write_large if len(call.wanted) > LARGE_ENTRIES else database.write
    return await write(_sync, call)


async def list_broken_rules(database: Database, wanted: Sequence[Entry], now: datetime) -> Sequence[SyncError]:
    """The rules that entries break whichever system they are for: as new ones of a system that has none."""
    catalogue = await database.read(_catalogue)
    return await asyncio.to_thread(lambda: plan_sync({}, wanted, catalogue, now).errors)


async def systems_of(database: Database, fingerprint: str) -> frozenset[str]:
    """The systems that a certificate may touch; none for one that is not known."""
    return await database.read(_systems_of, fingerprint)


async def list_subscriptions(database: Database, system_id: str) -> list[Subscription]:
    """The current set of a system, by identity."""
    rows = await database.read_large(_current, system_id)
    return [subscription for _, subscription in sorted(rows.values(), key=lambda row: row[1].identity)]


async def list_allowed(database: Database, org_type: int) -> list[MessageType]:
    """The message types that an orgType may subscribe to, by entityType."""
    catalogue = await database.read(_catalogue)
    return [
        message_type
        for entity_type, message_type in sorted(catalogue.message_types.items())
        if (org_type, entity_type) in catalogue.allowed
    ]


def _sync(connection: sa.Connection, call: Sync) -> SyncResult:
    # The row of the chain is the lock of the system: a second sync waits here until the first has ended.
    head = audit.lock_chain(connection, call.system_id)
    current = _current(connection, call.system_id)
    by_identity = {identity: subscription for identity, (_, subscription) in current.items()}
    plan = plan_sync(by_identity, call.wanted, _catalogue(connection), call.now)
    if plan.errors or call.is_refused_anyway:
        raise SyncRefused(plan.errors)
    gone = [current[subscription.identity][0] for subscription in plan.deleted]
    dropped = _count_messages(connection, gone) if gone else 0
    if plan.is_change and not call.is_dry_run:
        _apply(connection, call.system_id, plan, current, gone)
    result = SyncResult(len(plan.created), len(plan.updated), len(plan.deleted), plan.unchanged, dropped)
    audit.append(connection, call.system_id, head, _entries(call, plan, result))
    return result


def _apply(
    connection: sa.Connection,
    system_id: str,
    plan: SyncPlan,
    current: Mapping[Identity, tuple[int, Subscription]],
    gone: list[int],
) -> None:
    """One statement for each kind of change, however many there are."""
    if gone:
        connection.execute(_statement(connection, _DELETE), {"rows": to_json([[id_] for id_ in gone])})
    if plan.updated:
        rows = [[current[after.identity][0], *_values(connection, after)] for _, after in plan.updated]
        connection.execute(_statement(connection, _UPDATE), {"rows": to_json(rows)})
    if plan.created:
        rows = [[*after.identity, *_values(connection, after)] for after in plan.created]
        system = sa.bindparam("system_id", type_=table.c.system_id.type)
        statement = _statement(connection, _INSERT).bindparams(system)
        connection.execute(statement, {"rows": to_json(rows), "system_id": system_id})


_DELETE = """
delete from subscriptions where id in (select cast(value->>0 as bigint) from {rows})
"""
_COUNT = """
select count(*) from deliveries where subscription_id in (select cast(value->>0 as bigint) from {rows})
"""
_UPDATE = """
update subscriptions
set webhook_url = d.webhook_url, start_time = d.start_time, end_time = d.end_time
from (
    select cast(value->>0 as bigint) as id, value->>1 as webhook_url,
           {time_2} as start_time, {time_3} as end_time
    from {rows}
) as d
where subscriptions.id = d.id
"""
_INSERT = """
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time, end_time)
select :system_id, cast(value->>0 as integer), cast(value->>1 as integer), cast(value->>2 as integer),
       value->>3, {time_4}, {time_5}
from {rows}
"""


def _statement(connection: sa.Connection, text: str) -> sa.TextClause:
    """A statement over the JSON document `:rows`, an array of arrays; one document, since databases limit binds."""
    if connection.dialect.name == "sqlite":
        rows, time = "json_each(:rows)", "value->>{}"
    else:
        rows, time = "jsonb_array_elements(cast(:rows as jsonb)) as r(value)", "cast(value->>{} as timestamptz)"
    return sa.text(text.format(rows=rows, **{f"time_{place}": time.format(place) for place in range(2, 6)}))


def _values(connection: sa.Connection, subscription: Subscription) -> list[str | None]:
    return [
        subscription.webhook_url,
        _stored_time(connection, subscription.start),
        None if subscription.end is None else _stored_time(connection, subscription.end),
    ]


def _stored_time(connection: sa.Connection, moment: datetime) -> str:
    # What SQLAlchemy writes itself: on SQLite a moment is text without an offset.
    if connection.dialect.name == "sqlite":
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    return moment.isoformat()


def _count_messages(connection: sa.Connection, subscription_ids: list[int]) -> int:
    rows = to_json([[id_] for id_ in subscription_ids])
    count: int = connection.execute(_statement(connection, _COUNT), {"rows": rows}).scalar_one()
    return count


def _entries(call: Sync, plan: SyncPlan, result: SyncResult) -> list[AuditEntry]:
    """The entry of the call, then one with all its changes, if it made any."""
    outcome = "dry run" if call.is_dry_run else "changed" if plan.is_change else "unchanged"
    counts = {
        "created": result.created,
        "updated": result.updated,
        "deleted": result.deleted,
        "unchanged": result.unchanged,
        "droppedMessages": result.dropped_messages,
    }
    entries = [_entry(call, "call", outcome, counts)]
    if plan.is_change and not call.is_dry_run:
        changes = {
            "created": [_told(after) for after in plan.created],
            "updated": [[_told(before), _told(after)] for before, after in plan.updated],
            "deleted": [_told(before) for before in plan.deleted],
        }
        entries.append(_entry(call, "change", outcome, changes))
    return entries


def _entry(call: Sync, kind: str, outcome: str, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        chain=call.system_id,
        kind=kind,
        time=call.now,
        operation="syncWebhookAbonnementer",
        caller=call.caller,
        outcome=outcome,
        request_id=call.request_id,
        detail=detail,
    )


def _told(subscription: Subscription) -> list[Any]:
    """A subscription as the audit tells it: identity, path, start, end."""
    end = None if subscription.end is None else write_time(subscription.end)
    return [*subscription.identity, subscription.webhook_url, write_time(subscription.start), end]


def _current(connection: sa.Connection, system_id: str) -> dict[Identity, tuple[int, Subscription]]:
    select = sa.select(
        table.c.id,
        table.c.org_type,
        table.c.org_code,
        table.c.entity_type,
        table.c.webhook_url,
        table.c.start_time,
        table.c.end_time,
    ).where(table.c.system_id == system_id)
    current = {}
    for id_, org_type, org_code, entity_type, webhook_url, start, end in connection.execute(select):
        identity = Identity(org_type, org_code, entity_type)
        current[identity] = (id_, Subscription(identity, webhook_url, start, end))
    return current


def _catalogue(connection: sa.Connection) -> Catalogue:
    types = connection.execute(message_types.select())
    pairs = connection.execute(sa.select(allowed_subscriptions.c.org_type, allowed_subscriptions.c.entity_type))
    return Catalogue(
        message_types={
            row.entity_type: MessageType(row.entity_type, row.name, row.start_date, row.end_date) for row in types
        },
        allowed=frozenset((org_type, entity_type) for org_type, entity_type in pairs),
    )


def _systems_of(connection: sa.Connection, fingerprint: str) -> frozenset[str]:
    select = sa.select(certificates.c.system_id).where(certificates.c.fingerprint == fingerprint)
    return frozenset(connection.execute(select).scalars())
