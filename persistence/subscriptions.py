"""The subscriptions of systems: the sync, and the queries of callers.

Each statement of a sync takes one JSON document, regardless of the number of rows, because databases limit the number
of bound parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import AuditEntry
from domain.callers import Caller
from domain.errors import BudkavleError, Forbidden, RefusalReason
from domain.subscriptions import Entry, Identity, MessageType, Offer, Subscription, SyncError, SyncPlan, plan_sync
from persistence import audit
from persistence.database import Database, to_json
from persistence.tables import allowed_subscriptions, certificates, message_types
from persistence.tables import subscriptions as table
from persistence.work import long_read, long_write, short_read

PART = 500
"""Rows that are fetched or encoded as JSON together."""

OPERATION = "syncWebhookAbonnementer"
"""The operation of these entries in the audit log."""

LARGEST_TYPE = 2**31 - 1
"""The largest entityType that the column can store. No catalogue has larger ones."""


class SyncRefused(BudkavleError):
    """The set violates rules; nothing was changed."""

    def __init__(self, errors: Sequence[SyncError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class SyncCall:
    """One sync call: the wanted set of a system, and the data for its audit entries."""

    system_id: str
    wanted: Sequence[Entry]
    now: datetime
    caller: Caller
    request_id: str
    is_dry_run: bool = False
    is_refused_anyway: bool = False
    """The request violates the contract: only collect further violations."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of a sync, or of its dry run."""

    created: int
    updated: int
    deleted: int
    unchanged: int
    dropped_messages: int


@dataclass(frozen=True, slots=True)
class CurrentSet:
    """The current set of a system, and the ids of its rows."""

    subscriptions: Mapping[Identity, Subscription]
    ids: Mapping[Identity, int]


async def sync(database: Database, call: SyncCall) -> SyncResult:
    """Replace the set of a system by the wanted one and write the audit entries, in one transaction.

    Raises `SyncRefused` with all violations, and `Forbidden` if the caller has no access, or no longer has access, to
    the system. In both cases nothing is changed or audited.
    """
    # Callers of the same system wait for this lock without a connection, which callers of other systems may need.
    async with database.locks.hold(call.system_id):
        return await database.write(_sync, call)


async def list_broken_rules(database: Database, wanted: Sequence[Entry], now: datetime) -> tuple[SyncError, ...]:
    """Return all violations of entries whose system is unknown, as if all entries were new."""
    return await database.read(_list_broken_rules, wanted, now)


async def find_systems(database: Database, fingerprint: str) -> frozenset[str]:
    """Return the systems that a certificate has access to; none for an unknown certificate."""
    return await database.read(_find_systems, fingerprint)


async def list_subscriptions(database: Database, system_id: str) -> list[Subscription]:
    """Return the current set of a system, sorted by identity."""
    return await database.read(_list_subscriptions, system_id)


async def list_allowed(database: Database, org_type: int) -> list[MessageType]:
    """Return the message types that an orgType may subscribe to, sorted by entityType."""
    return await database.read(_list_allowed, org_type)


@long_write
def _sync(connection: sa.Connection, call: SyncCall) -> SyncResult:
    # Lock the catalogue first, as all transactions do that lock both, to prevent deadlocks.
    audit.share_catalogue(connection)
    # The row of the chain is the lock of the system: a second sync waits here until the first one ends.
    head = audit.lock_chain(connection, call.system_id)
    if connection.execute(_HAS_ACCESS, _build_caller_parameters(call)).first() is None:
        # The operator may have deleted the system or revoked its certificate while the call waited.
        raise Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED)
    current = read_set(connection, call.system_id)
    offer = _read_offer(connection, _collect_types(call.wanted))
    plan = plan_sync(current.subscriptions, call.wanted, offer, call.now)
    if plan.errors or call.is_refused_anyway:
        raise SyncRefused(plan.errors)
    changes = _describe_changes(plan)
    dropped = _apply(connection, call, current, plan, changes)
    result = SyncResult(len(plan.created), len(plan.updated), len(plan.deleted), plan.unchanged, dropped)
    audit.append(connection, call.system_id, head, _build_entries(call, result, changes if plan.is_change else None))
    return result


def _apply(
    connection: sa.Connection, call: SyncCall, current: CurrentSet, plan: SyncPlan, changes: Mapping[str, list[Any]]
) -> int:
    """Write the planned changes. Return the number of messages that are dropped, or would be in a dry run."""
    deleted_ids = [current.ids[subscription.identity] for subscription in plan.deleted]
    if call.is_dry_run:
        return _count_messages(connection, deleted_ids) if deleted_ids else 0
    dropped = _delete(connection, deleted_ids) if deleted_ids else 0
    if plan.updated:
        ids = [current.ids[after.identity] for _, after in plan.updated]
        _update(connection, [after for _, after in changes["updated"]], ids)
    if plan.created:
        _insert(connection, call.system_id, changes["created"])
    return dropped


@long_read
def _list_broken_rules(connection: sa.Connection, wanted: Sequence[Entry], now: datetime) -> tuple[SyncError, ...]:
    offer = _read_offer(connection, _collect_types(wanted))
    return plan_sync({}, wanted, offer, now).errors


def _collect_types(wanted: Sequence[Entry]) -> set[int]:
    types = {entry.entity_type for entry in wanted if entry.entity_type is not None}
    return {entity_type for entity_type in types if 0 <= entity_type <= LARGEST_TYPE}


def _build_caller_parameters(call: SyncCall) -> dict[str, str | None]:
    return {"fingerprint": call.caller.certificate, "system_id": call.system_id}


def _describe_changes(plan: SyncPlan) -> dict[str, list[Any]]:
    """Return the changes as the audit log stores them."""
    return {
        "created": [_to_array(after) for after in plan.created],
        "updated": [[_to_array(before), _to_array(after)] for before, after in plan.updated],
        "deleted": [_to_array(before) for before in plan.deleted],
    }


def _build_entries(call: SyncCall, result: SyncResult, changes: dict[str, list[Any]] | None) -> list[AuditEntry]:
    """Return the audit entry of the call, followed by one with all its changes if there are any."""
    outcome = "dry run" if call.is_dry_run else "changed" if changes else "unchanged"
    counts = {
        "created": result.created,
        "updated": result.updated,
        "deleted": result.deleted,
        "unchanged": result.unchanged,
        "droppedMessages": result.dropped_messages,
    }
    entries = [_build_entry(call, "call", outcome, counts)]
    if changes and not call.is_dry_run:
        entries.append(_build_entry(call, "change", outcome, changes))
    return entries


def _build_entry(call: SyncCall, kind: str, outcome: str, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        chain=call.system_id,
        kind=kind,
        time=call.now,
        operation=OPERATION,
        caller=call.caller.name,
        outcome=outcome,
        request_id=call.request_id,
        detail=detail,
    )


_HAS_ACCESS = sa.select(certificates.c.system_id).where(
    certificates.c.fingerprint == sa.bindparam("fingerprint"), certificates.c.system_id == sa.bindparam("system_id")
)
_SYSTEMS_OF = sa.select(certificates.c.system_id).where(certificates.c.fingerprint == sa.bindparam("fingerprint"))
_ALLOWED = (
    message_types.select()
    .join(allowed_subscriptions, allowed_subscriptions.c.entity_type == message_types.c.entity_type)
    .where(allowed_subscriptions.c.org_type == sa.bindparam("org_type"))
    .order_by(message_types.c.entity_type)
)


@short_read
def _find_systems(connection: sa.Connection, fingerprint: str) -> frozenset[str]:
    return frozenset(connection.execute(_SYSTEMS_OF, {"fingerprint": fingerprint}).scalars())


@long_read
def _list_subscriptions(connection: sa.Connection, system_id: str) -> list[Subscription]:
    current = read_set(connection, system_id)
    return sorted(current.subscriptions.values(), key=lambda subscription: subscription.identity)


@short_read
def _list_allowed(connection: sa.Connection, org_type: int) -> list[MessageType]:
    rows = connection.execute(_ALLOWED, {"org_type": org_type})
    return [MessageType(row.entity_type, row.name, row.start_date, row.end_date) for row in rows]


def read_set(connection: sa.Connection, system_id: str) -> CurrentSet:
    """Return the current set of a system by identity."""
    subscriptions, ids = {}, {}
    # Fetch in parts: short-lived rows should not occupy the garbage collector.
    for part in connection.execute(_SELECT, {"system_id": system_id}).partitions(PART):
        for id_, org_type, org_code, entity_type, webhook_url, start, end in part:
            identity = Identity(org_type, org_code, entity_type)
            subscriptions[identity] = Subscription(identity, webhook_url, _parse_time(start), end and _parse_time(end))
            ids[identity] = id_
    return CurrentSet(subscriptions, ids)


def _to_array(subscription: Subscription) -> list[Any]:
    """Return a subscription as a JSON array: identity, path, start and end (in UTC)."""
    end = subscription.end
    return [
        *subscription.identity,
        subscription.webhook_url,
        _format_time(subscription.start),
        None if end is None else _format_time(end),
    ]


def _read_offer(connection: sa.Connection, entity_types: Iterable[int]) -> Offer:
    """Return the operator's configuration of these message types."""
    types, allowed = {}, set()
    for row in connection.execute(_OFFER[connection.dialect.name], {"rows": to_json(list(entity_types))}):
        types[row.entity_type] = MessageType(row.entity_type, row.name, row.start_date, row.end_date)
        allowed.add((row.org_type, row.entity_type))
    return Offer(types, allowed)


def _count_messages(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """Return the number of undelivered messages of these subscriptions."""
    return int(_execute(connection, _COUNT_MESSAGES, subscription_ids).scalar_one())


def _delete(connection: sa.Connection, subscription_ids: Sequence[int]) -> int:
    """Delete subscriptions with their undelivered messages. Return the number of these messages.

    Claims of workers do not block the deletion: a claim is a column of the row and is deleted with it.
    """
    # No message can be queued for a locked subscription, so the count is complete. All transactions lock subscriptions
    # in the order of their ids, which prevents deadlocks.
    _execute(connection, _LOCK, subscription_ids)
    dropped = _execute(connection, _DELETE_MESSAGES, subscription_ids).rowcount
    _execute(connection, _DELETE, subscription_ids)
    return dropped


def _update(connection: sa.Connection, subscriptions: Iterable[list[Any]], ids: Iterable[int]) -> None:
    """Update the subscriptions with these ids (as arrays of `_to_array`) in place, so that they keep their queues."""
    _execute(connection, _UPDATE, [[*row, id_] for row, id_ in zip(subscriptions, ids, strict=True)])


def _insert(connection: sa.Connection, system_id: str, subscriptions: Sequence[list[Any]]) -> None:
    """Insert subscriptions, given as arrays of `_to_array`."""
    _execute(connection, _INSERT, subscriptions, system_id=system_id)


_SELECT = sa.select(
    table.c.id,
    table.c.org_type,
    table.c.org_code,
    table.c.entity_type,
    table.c.webhook_url,
    # Read the driver's values: conversion by the column type would double the time of the query.
    sa.type_coerce(table.c.start_time, sa.types.NullType()),
    sa.type_coerce(table.c.end_time, sa.types.NullType()),
).where(table.c.system_id == sa.bindparam("system_id"))

_COUNT_MESSAGES = "select count(*) from deliveries where subscription_id in (select {id} from {rows})"
_LOCK = "select id from subscriptions where id in (select {id} from {rows}) order by id {for_update}"
_DELETE_MESSAGES = "delete from deliveries where subscription_id in (select {id} from {rows})"
_DELETE = "delete from subscriptions where id in (select {id} from {rows})"
_UPDATE = """
update subscriptions
set webhook_url = d.webhook_url, start_time = d.start_time, end_time = d.end_time
from (
    select value->>3 as webhook_url, {start} as start_time, {end} as end_time, cast(value->>6 as bigint) as id
    from {rows}
) as d
where subscriptions.id = d.id
"""
_INSERT = """
insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time, end_time)
select :system_id, cast(value->>0 as integer), cast(value->>1 as integer), cast(value->>2 as integer),
       value->>3, {start}, {end}
from {rows}
"""

_FRAGMENTS = {
    "sqlite": {
        "rows": "json_each(:rows)",
        "id": "value",
        "for_update": "",
        # SQLAlchemy's format on SQLite: without an offset.
        "start": "substr(value->>4, 1, 26)",
        "end": "substr(value->>5, 1, 26)",
    },
    "postgresql": {
        "rows": "jsonb_array_elements(cast(:rows as jsonb)) as r(value)",
        "id": "cast(value as bigint)",
        "start": "cast(value->>4 as timestamptz)",
        "end": "cast(value->>5 as timestamptz)",
        "for_update": "for update",
    },
}
"""The fragments that differ between the databases."""


def _offer_statement(dialect: str) -> sa.Select[Any]:
    fragments = _FRAGMENTS[dialect]
    given: sa.Select[Any] = sa.select(sa.literal_column(fragments["id"])).select_from(sa.text(fragments["rows"]))
    return (
        sa.select(message_types, allowed_subscriptions.c.org_type)
        .outerjoin(allowed_subscriptions, allowed_subscriptions.c.entity_type == message_types.c.entity_type)
        .where(message_types.c.entity_type.in_(given))
    )


_OFFER = {dialect: _offer_statement(dialect) for dialect in _FRAGMENTS}


def _execute(connection: sa.Connection, text: str, rows: Sequence[Any], **others: Any) -> sa.CursorResult[Any]:
    statement = sa.text(text.format(**_FRAGMENTS[connection.dialect.name]))
    if others:
        statement = statement.bindparams(sa.bindparam("system_id", type_=table.c.system_id.type))
    return connection.execute(statement, {"rows": _to_json(rows), **others})


def _to_json(rows: Sequence[Any]) -> str:
    # Encode in parts: the JSON encoder holds the GIL while it runs.
    parts = (to_json(rows[start : start + PART])[1:-1] for start in range(0, len(rows), PART))
    return f"[{','.join(parts)}]"


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "microseconds")


def _parse_time(stored: datetime | str) -> datetime:
    """Return the moment in a column, which is text without an offset on SQLite."""
    return datetime.fromisoformat(stored + "+00:00") if isinstance(stored, str) else stored
