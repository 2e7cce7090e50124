"""Operations of callers and operators on the queue: list, replay and drop deliveries, and send test events.

As in `persistence/queue/`, no statement waits for a row that another transaction has locked: that row is about to
change, so it is skipped.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import AuditEntry, ChainHead
from domain.deliveries import Attempt, DeliveryState, NotReplayed, Obstacle, QueuedDelivery, Reason, Urgency
from domain.errors import NotFound
from domain.events import build_order_key, write_content
from domain.subscriptions import Identity
from persistence import audit
from persistence.database import Database, to_json
from persistence.outbox import Publication
from persistence.queue.claims import let_next_go
from persistence.tables import attempts, deliveries, events, subscriptions
from persistence.work import Cost, Write, large_read, read_with_cost, short_read, short_write, write_with_cost

FEW = 20
"""Maximum deliveries that are changed as short work: each may block callers for about 30 µs on SQLite."""


@dataclass(frozen=True, slots=True)
class TrialEvent:
    """A test event for one subscription of a system, and the id of its delivery."""

    publication: Publication
    system_id: str
    delivery_id: str


@dataclass(frozen=True, slots=True)
class ParkedSummary:
    """The number of parked deliveries of a system, and the number of the last one, 0 without any."""

    count: int
    last: int


async def list_page(
    database: Database, system_id: str | None, state: DeliveryState | None, after: int, limit: int
) -> list[QueuedDelivery]:
    """Return at most `limit` deliveries, oldest first, optionally of one system and in one state.

    `after` is the number of the last delivery on the previous page, 0 for the first page.
    """
    return await database.read(_list_page, system_id, state, after, limit)


async def list_parked(database: Database, system_id: str, after: int, limit: int) -> list[QueuedDelivery]:
    """Return at most `limit` parked deliveries of a system after a number, oldest first."""
    return await database.read(_list_parked, system_id, after, limit)


async def list_waiting(
    database: Database, system_id: str, after: tuple[datetime, int] | None, limit: int
) -> list[QueuedDelivery]:
    """Return at most `limit` waiting deliveries of a system that are not set aside, by due time and number.

    `after` is the due time and number of the last delivery on the previous page.
    """
    return await database.read(_list_waiting, system_id, after, limit)


async def list_blocked(database: Database, system_id: str, limit: int) -> list[QueuedDelivery]:
    """Return at most `limit` deliveries of a system that are set aside behind an earlier one of their key.

    Which ones of more than `limit` is not defined.
    """
    return await database.read(_list_blocked, system_id, limit)


async def list_of_event(database: Database, event_id: str, limit: int) -> list[QueuedDelivery]:
    """Return at most `limit` undelivered deliveries of an event, oldest first."""
    return await database.read(_list_of_event, event_id, limit)


async def summarise_parked(database: Database, system_id: str) -> ParkedSummary:
    """Return the number of parked deliveries of a system, and the number of the last one."""
    return await database.read(_summarise_parked, system_id)


async def get(database: Database, delivery_id: str) -> QueuedDelivery:
    """Return a delivery. Raises `NotFound` if it is unknown or has been delivered."""
    delivery = await database.read(_find, delivery_id)
    if delivery is None:
        raise NotFound(f"There is no delivery with id '{delivery_id}' on the queue")
    return delivery


async def list_attempts(database: Database, number: int) -> list[Attempt]:
    """Return the stored attempts of a delivery, oldest first."""
    return await database.read(_list_attempts, number)


async def replay(database: Database, ids: Collection[str], entry: AuditEntry) -> set[str]:
    """Make parked and waiting deliveries of the system whose chain `entry` is for due, without changing their order.

    They are due at the time of the entry, and ignore the back-off of their target. The entry, to which their number is
    added, is recorded in the same transaction, and only if a delivery was replayed. Returns the ids of the deliveries
    that were replayed; `list_not_replayed` returns the reasons for the others.
    """
    return await _change_audited(database, _replay, ids, entry)


async def list_not_replayed(
    database: Database, ids: Collection[str], now: datetime, system_id: str | None = None
) -> dict[str, NotReplayed]:
    """Return why these deliveries were not replayed. With `system_id`, deliveries of other systems are unknown."""
    return await database.read(_list_not_replayed, ids, now, system_id)


async def drop(database: Database, ids: Collection[str], entry: AuditEntry) -> set[str]:
    """Delete deliveries of a system in any state, and make the next ones of their keys due. `entry` is as in `replay`.

    Returns the ids of the deleted deliveries. Deliveries that another transaction has locked are skipped. An attempt
    that is running may still arrive.
    """
    return await _change_audited(database, _drop, ids, entry)


async def publish_test(database: Database, trial: TrialEvent, entry: AuditEntry) -> None:
    """Queue an event for one subscription, regardless of its dates and its type. Raises `NotFound`.

    The entry, which is of the chain of the system, is recorded in the same transaction.
    """
    async with database.locks.hold(entry.chain):
        await database.write(_publish_test, trial, entry)


def _estimate_cost_of_ids(ids: Collection[str], *_others: object) -> Cost:
    return Cost.BULK if len(ids) > FEW else Cost.SHORT


_AHEAD = deliveries.alias("ahead")
_BLOCKED_BY = (
    sa.select(_AHEAD.c.id)
    .where(
        deliveries.c.lease.is_(None),
        sa.text("deliveries.state = 'waiting'"),
        _AHEAD.c.subscription_id == deliveries.c.subscription_id,
        _AHEAD.c.key == deliveries.c.key,
        _AHEAD.c.number < deliveries.c.number,
        # Literal text, because the planner cannot match a parameter to the condition of the index.
        sa.text("ahead.state = 'waiting'"),
    )
    .order_by(_AHEAD.c.number)
    .limit(1)
    .correlate(deliveries)
    .scalar_subquery()
)

_ALL = (
    sa.select(
        deliveries.c.number,
        deliveries.c.id,
        deliveries.c.event_id,
        deliveries.c.system_id,
        subscriptions.c.org_type,
        subscriptions.c.org_code,
        subscriptions.c.entity_type,
        subscriptions.c.webhook_url,
        deliveries.c.state,
        deliveries.c.attempts,
        deliveries.c.created,
        deliveries.c.due,
        deliveries.c.lease.is_not(None).label("is_held"),
        attempts.c.reason,
        attempts.c.status,
        sa.case((attempts.c.status.is_(None), attempts.c.answer)).label("detail"),
        _BLOCKED_BY.label("blocked_by"),
    )
    .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
    .outerjoin(attempts, (attempts.c.delivery == deliveries.c.number) & (attempts.c.number == deliveries.c.attempts))
    .order_by(deliveries.c.number)
)

_LOCKS = {
    "sqlite": {"skip_locked": "", "skip_locked_lanes": ""},
    "postgresql": {
        "skip_locked": "for update of d skip locked",
        # These locks are required by `let_next_go`.
        "skip_locked_lanes": "for update of d skip locked for no key update of s skip locked",
    },
}
_IDS = {
    # SQLAlchemy stores UUIDs without hyphens there.
    "sqlite": "(select replace(value, '-', '') from json_each(:ids))",
    "postgresql": "(select cast(value as uuid) from jsonb_array_elements_text(cast(:ids as jsonb)) as r(value))",
}
_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "ids": sa.Text(),
    "now": deliveries.c.due.type,
    "system_id": deliveries.c.system_id.type,
}


def _build_for_each_dialect(text: str) -> dict[str, sa.TextualSelect]:
    statements = {}
    for dialect, locks in _LOCKS.items():
        statement = text.format(ids=_IDS[dialect], **locks)
        named = [name for name in _TYPES if re.search(rf":{name}\b", statement)]
        bound = sa.text(statement).bindparams(*(sa.bindparam(name, type_=_TYPES[name]) for name in named))
        statements[dialect] = bound.columns(deliveries.c.id, deliveries.c.subscription_id, deliveries.c.key)
    return statements


_REPLAY_TEXT = """
update deliveries set state = 'waiting', due = :now, urgency = {urgency:d}
where number in (
    select d.number from deliveries d where d.id in {{ids}} and d.system_id = :system_id
    and (d.state = 'parked' or ((d.lease is null or d.due <= :now) and not exists (
        select 1 from deliveries o
        where o.subscription_id = d.subscription_id and o.key = d.key and o.state = 'waiting' and o.number < d.number
    )))
    {{skip_locked}}
)
returning id, subscription_id, key
"""
_REPLAY = _build_for_each_dialect(_REPLAY_TEXT.format(urgency=Urgency.REPLAY))
_DROP_TEXT = """
delete from deliveries where number in (
    select d.number from deliveries d join subscriptions s on s.id = d.subscription_id
    where d.id in {{ids}} {of_system} {{skip_locked_lanes}}
)
returning id, subscription_id, key
"""
_DROP = _build_for_each_dialect(_DROP_TEXT.format(of_system=""))
_DROP_OF_SYSTEM = _build_for_each_dialect(_DROP_TEXT.format(of_system="and d.system_id = :system_id"))


@large_read
def _list_page(
    connection: sa.Connection, system_id: str | None, state: DeliveryState | None, after: int, limit: int
) -> list[QueuedDelivery]:
    select = _ALL.where(deliveries.c.number > after).limit(limit)
    if system_id is not None:
        select = select.where(deliveries.c.system_id == system_id)
    if state is not None:
        select = select.where(deliveries.c.state == str(state))
    return _list(connection, select)


# Literal text: the planner cannot match a parameter to the condition of an index.
_IS_PARKED = sa.text("deliveries.state = 'parked'")
_IS_BLOCKED = sa.text("deliveries.due is null and deliveries.state = 'waiting'")


@short_read
def _list_parked(connection: sa.Connection, system_id: str, after: int, limit: int) -> list[QueuedDelivery]:
    select = _ALL.where(deliveries.c.system_id == system_id, _IS_PARKED, deliveries.c.number > after)
    return _list(connection, select.limit(limit))


@short_read
def _list_waiting(
    connection: sa.Connection, system_id: str, after: tuple[datetime, int] | None, limit: int
) -> list[QueuedDelivery]:
    select = _ALL.where(deliveries.c.system_id == system_id, sa.text("deliveries.due is not null"))
    if after is not None:
        position = sa.tuple_(sa.literal(after[0], deliveries.c.due.type), after[1])
        select = select.where(sa.tuple_(deliveries.c.due, deliveries.c.number) > position)
    return _list(connection, select.order_by(None).order_by(deliveries.c.due, deliveries.c.number).limit(limit))


@short_read
def _list_blocked(connection: sa.Connection, system_id: str, limit: int) -> list[QueuedDelivery]:
    # Without an order, the database stops at the limit.
    blocked = (
        sa.select(deliveries.c.number)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(subscriptions.c.system_id == system_id, _IS_BLOCKED)
        .limit(limit)
        .subquery()
    )
    return _list(connection, _ALL.where(deliveries.c.number.in_(sa.select(blocked.c.number))))


@short_read
def _list_of_event(connection: sa.Connection, event_id: str, limit: int) -> list[QueuedDelivery]:
    return _list(connection, _ALL.where(deliveries.c.event_id == event_id).limit(limit))


@large_read
def _summarise_parked(connection: sa.Connection, system_id: str) -> ParkedSummary:
    select = sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(deliveries.c.number), 0))
    return ParkedSummary(*connection.execute(select.where(deliveries.c.system_id == system_id, _IS_PARKED)).one())


@short_read
def _find(connection: sa.Connection, delivery_id: str) -> QueuedDelivery | None:
    return next(iter(_list(connection, _ALL.where(deliveries.c.id == delivery_id))), None)


def _list(connection: sa.Connection, select: sa.Select[Any]) -> list[QueuedDelivery]:
    return [_to_queued_delivery(row) for row in connection.execute(select).mappings()]


def _to_queued_delivery(row: sa.RowMapping) -> QueuedDelivery:
    reason = None if row["reason"] is None else Reason(row["reason"])
    read = {"state": DeliveryState(row["state"]), "reason": reason, "is_held": bool(row["is_held"])}
    return QueuedDelivery(**{**row, **read, "detail": row["detail"] or None})


@short_read
def _list_attempts(connection: sa.Connection, number: int) -> list[Attempt]:
    rows = connection.execute(attempts.select().where(attempts.c.delivery == number).order_by(attempts.c.number))
    return [
        Attempt(
            number=row.number,
            time=row.time,
            milliseconds=row.milliseconds,
            status=row.status,
            reason=None if row.reason is None else Reason(row.reason),
            answer=row.answer,
        )
        for row in rows
    ]


class _NothingChanged(Exception):
    """Rolls back: a chain without entries would be invalid."""


async def _change_audited(
    database: Database,
    change: Write[[Collection[str], AuditEntry], set[str]],
    ids: Collection[str],
    entry: AuditEntry,
) -> set[str]:
    async with database.locks.hold(entry.chain):
        try:
            return await database.write(change, ids, entry)
        except _NothingChanged:
            return set()


@write_with_cost(_estimate_cost_of_ids)
def _replay(connection: sa.Connection, ids: Collection[str], entry: AuditEntry) -> set[str]:
    # The catalogue's changes of a system lock its chain before its deliveries, too.
    head = audit.lock_chain(connection, entry.chain)
    parameters = {"ids": to_json(list(ids)), "now": entry.time, "system_id": entry.chain}
    replayed = connection.execute(_REPLAY[connection.dialect.name], parameters).all()
    return _record_changed(connection, head, entry, replayed)


@write_with_cost(_estimate_cost_of_ids)
def _drop(connection: sa.Connection, ids: Collection[str], entry: AuditEntry) -> set[str]:
    head = audit.lock_chain(connection, entry.chain)
    parameters = {"ids": to_json(list(ids)), "system_id": entry.chain}
    dropped = connection.execute(_DROP_OF_SYSTEM[connection.dialect.name], parameters).all()
    let_next_go(connection, dropped, entry.time)
    return _record_changed(connection, head, entry, dropped)


def _record_changed(
    connection: sa.Connection, head: ChainHead, entry: AuditEntry, changed: Sequence[sa.Row[Any]]
) -> set[str]:
    """Append the entry with the number of changed deliveries, and return their ids."""
    if not changed:
        raise _NothingChanged
    audit.append(connection, entry.chain, head, [replace(entry, detail={"deliveries": len(changed)})])
    return {row.id for row in changed}


@read_with_cost(_estimate_cost_of_ids)
def _list_not_replayed(
    connection: sa.Connection, ids: Collection[str], now: datetime, system_id: str | None
) -> dict[str, NotReplayed]:
    obstacles = {id_: NotReplayed(id_, Obstacle.UNKNOWN) for id_ in ids}
    if not ids:
        return obstacles
    # Select by number, so that the statement has no parameter list of ids.
    numbers = sa.select(deliveries.c.number).where(deliveries.c.id.in_(_select_given_ids(connection, ids)))
    for item in _list(connection, _ALL.where(deliveries.c.number.in_(numbers))):
        if system_id is not None and item.system_id != system_id:
            continue
        if item.is_held and item.due is not None and item.due > now:
            obstacles[item.id] = NotReplayed(item.id, Obstacle.UNDER_WAY, until=item.due)
        elif item.blocked_by is not None:
            obstacles[item.id] = NotReplayed(item.id, Obstacle.BLOCKED, blocked_by=item.blocked_by)
        else:
            obstacles[item.id] = NotReplayed(item.id, Obstacle.LOCKED)
    return obstacles


def _select_given_ids(connection: sa.Connection, ids: Collection[str]) -> sa.TextualSelect:
    text = sa.text(_IDS[connection.dialect.name][1:-1]).bindparams(sa.bindparam("ids", to_json(list(ids)), sa.Text()))
    return text.columns(deliveries.c.id)


@write_with_cost(_estimate_cost_of_ids)
def drop_stored(connection: sa.Connection, ids: Collection[str], now: datetime) -> set[str]:
    """Do the work of `drop` for all systems, within other work that records it."""
    deleted = connection.execute(_DROP[connection.dialect.name], {"ids": to_json(list(ids))}).all()
    let_next_go(connection, deleted, now)
    return {row.id for row in deleted}


@short_write
def _publish_test(connection: sa.Connection, trial: TrialEvent, entry: AuditEntry) -> None:
    # A sync locks the chain of its system before its subscriptions, too.
    head = audit.lock_chain(connection, entry.chain)
    event = trial.publication.event
    # Lock the subscription, so that a sync that deletes it runs either before or after this transaction.
    subscription = connection.execute(
        sa.select(subscriptions.c.id)
        .where(
            subscriptions.c.system_id == trial.system_id,
            subscriptions.c.org_type == event.org_type,
            subscriptions.c.org_code == event.org_code,
            subscriptions.c.entity_type == event.entity_type,
        )
        .with_for_update(read=True, key_share=True)
    ).scalar()
    if subscription is None:
        identity = Identity(event.org_type, event.org_code, event.entity_type)
        raise NotFound(f"System {trial.system_id} has no subscription {tuple(identity)}")
    connection.execute(
        events.insert(),
        {
            "id": event.id,
            "created": event.created,
            "entity_type": event.entity_type,
            "content": write_content(event),
            "subscriptions": 1,
            "publisher": trial.publication.publisher,
            "request_id": trial.publication.request_id,
            "trace_parent": trial.publication.trace_parent,
        },
    )
    connection.execute(
        deliveries.insert(),
        {
            "id": trial.delivery_id,
            "event_id": event.id,
            "subscription_id": subscription,
            "system_id": trial.system_id,
            "key": build_order_key(event),
            "state": str(DeliveryState.WAITING),
            "created": event.created,
            "due": event.created,
            "attempts": 0,
            "urgency": Urgency.TEST,
        },
    )
    audit.append(connection, entry.chain, head, [entry])
