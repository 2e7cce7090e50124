"""The subscriptions of systems: the sync, and the queries of callers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.audit import AuditEntry
from domain.errors import BudkavleError, Forbidden, RefusalReason
from domain.subscriptions import Entry, MessageType, Subscription, SyncError, SyncPlan, plan_sync
from persistence import audit, subscription_rows
from persistence.database import Database
from persistence.subscription_rows import CurrentSet, to_array
from persistence.tables import allowed_subscriptions, certificates, message_types

LARGEST_TYPE = 2**31 - 1
"""The largest entityType that the column can hold. No catalogue has larger ones."""


class SyncRefused(BudkavleError):
    """The set breaks rules; nothing was changed."""

    def __init__(self, errors: Sequence[SyncError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class SyncCall:
    """One sync call: the wanted set of a system, and the data for its audit entries."""

    system_id: str
    wanted: Sequence[Entry]
    now: datetime
    caller: str
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


async def sync(database: Database, call: SyncCall) -> SyncResult:
    """Replace the set of a system by the wanted one and write the audit entries, in one transaction.

    Raises `SyncRefused` with all violations, and `Forbidden` if the caller has no access, or no longer has access, to
    the system. In both cases nothing is changed or audited.
    """
    # Callers of the same system wait here for each other, without a connection that callers of other systems need.
    async with database.locks.hold(call.system_id):
        return await database.write_long(_sync, call)


async def list_broken_rules(database: Database, wanted: Sequence[Entry], now: datetime) -> tuple[SyncError, ...]:
    """Return all violations of entries whose system is unknown, as if all entries were new."""
    return await database.read_long(_list_broken_rules, wanted, now)


async def find_systems(database: Database, fingerprint: str) -> frozenset[str]:
    """Return the systems that a certificate has access to; none for an unknown certificate."""
    return await database.read(_systems_of, fingerprint)


async def list_subscriptions(database: Database, system_id: str) -> list[Subscription]:
    """Return the current set of a system, sorted by identity."""
    return await database.read_long(_list_subscriptions, system_id)


async def list_allowed(database: Database, org_type: int) -> list[MessageType]:
    """Return the message types that an orgType may subscribe to, sorted by entityType."""
    return await database.read(_list_allowed, org_type)


def _sync(connection: sa.Connection, call: SyncCall) -> SyncResult:
    # Lock the catalogue first, as all transactions do that lock both, to prevent deadlocks.
    audit.share_catalogue(connection)
    # The row of the chain is the lock of the system: a second sync waits here until the first one ends.
    head = audit.lock_chain(connection, call.system_id)
    if connection.execute(_HAS_ACCESS, _caller_parameters(call)).first() is None:
        # While the call waited, the operator deleted the system or revoked its certificate.
        raise Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED)
    current = subscription_rows.read(connection, call.system_id)
    offer = subscription_rows.read_offer(connection, _types(call.wanted))
    plan = plan_sync(current.subscriptions, call.wanted, offer, call.now)
    if plan.errors or call.is_refused_anyway:
        raise SyncRefused(plan.errors)
    changes = _changes(plan)
    dropped = _apply(connection, call, current, plan, changes)
    result = SyncResult(len(plan.created), len(plan.updated), len(plan.deleted), plan.unchanged, dropped)
    audit.append(connection, call.system_id, head, _entries(call, result, changes if plan.is_change else None))
    return result


def _apply(
    connection: sa.Connection, call: SyncCall, current: CurrentSet, plan: SyncPlan, changes: Mapping[str, list[Any]]
) -> int:
    """Write the planned changes. Return the number of messages that are dropped, or would be in a dry run."""
    deleted_ids = [current.ids[subscription.identity] for subscription in plan.deleted]
    if call.is_dry_run:
        return subscription_rows.count_messages(connection, deleted_ids) if deleted_ids else 0
    dropped = subscription_rows.delete(connection, deleted_ids) if deleted_ids else 0
    if plan.updated:
        ids = [current.ids[after.identity] for _, after in plan.updated]
        subscription_rows.update(connection, [after for _, after in changes["updated"]], ids)
    if plan.created:
        subscription_rows.insert(connection, call.system_id, changes["created"])
    return dropped


def _list_broken_rules(connection: sa.Connection, wanted: Sequence[Entry], now: datetime) -> tuple[SyncError, ...]:
    offer = subscription_rows.read_offer(connection, _types(wanted))
    return plan_sync({}, wanted, offer, now).errors


def _types(wanted: Sequence[Entry]) -> set[int]:
    types = {entry.entity_type for entry in wanted if entry.entity_type is not None}
    return {entity_type for entity_type in types if 0 <= entity_type <= LARGEST_TYPE}


def _caller_parameters(call: SyncCall) -> dict[str, str]:
    return {"fingerprint": call.caller.removeprefix("sha256:"), "system_id": call.system_id}


def _changes(plan: SyncPlan) -> dict[str, list[Any]]:
    """Return the changes as the audit log stores them."""
    return {
        "created": [to_array(after) for after in plan.created],
        "updated": [[to_array(before), to_array(after)] for before, after in plan.updated],
        "deleted": [to_array(before) for before in plan.deleted],
    }


def _entries(call: SyncCall, result: SyncResult, changes: dict[str, list[Any]] | None) -> list[AuditEntry]:
    """Return the audit entry of the call, followed by one with all its changes if there are any."""
    outcome = "dry run" if call.is_dry_run else "changed" if changes else "unchanged"
    counts = {
        "created": result.created,
        "updated": result.updated,
        "deleted": result.deleted,
        "unchanged": result.unchanged,
        "droppedMessages": result.dropped_messages,
    }
    entries = [_entry(call, "call", outcome, counts)]
    if changes and not call.is_dry_run:
        entries.append(_entry(call, "change", outcome, changes))
    return entries


def _entry(call: SyncCall, kind: str, outcome: str, detail: dict[str, Any]) -> AuditEntry:
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


def _systems_of(connection: sa.Connection, fingerprint: str) -> frozenset[str]:
    return frozenset(connection.execute(_SYSTEMS_OF, {"fingerprint": fingerprint}).scalars())


def _list_subscriptions(connection: sa.Connection, system_id: str) -> list[Subscription]:
    current = subscription_rows.read(connection, system_id)
    return sorted(current.subscriptions.values(), key=lambda subscription: subscription.identity)


def _list_allowed(connection: sa.Connection, org_type: int) -> list[MessageType]:
    rows = connection.execute(_ALLOWED, {"org_type": org_type})
    return [MessageType(row.entity_type, row.name, row.start_date, row.end_date) for row in rows]
