"""Apply the operators' catalogue to the database, and read it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.audit import CATALOGUE, NO_CALLER, AuditEntry
from domain.catalogue import (
    ALLOWED,
    MESSAGE_TYPE,
    SYSTEM,
    WEB_MESSAGE_EVENT,
    Allowed,
    Catalogue,
    Change,
    ClientAuthentication,
    ClientCertificate,
    PartInUse,
    StaticHeader,
    SubscriptionCount,
    System,
    TokenClient,
    WebMessageEvent,
    find_parts_in_use,
    list_required_parts,
    plan_apply,
)
from domain.errors import BudkavleError
from domain.subscriptions import MessageType, write_time
from persistence import audit
from persistence.database import Database
from persistence.tables import (
    allowed_subscriptions,
    certificates,
    deliveries,
    message_types,
    subscriptions,
    systems,
    web_message_events,
)
from persistence.work import large_read, large_write

OPERATION = "apply"
"""The operation of these entries in the audit log."""


class CatalogueInUse(BudkavleError):
    """Subscriptions still need removed parts of the catalogue; nothing was changed."""

    def __init__(self, parts: Sequence[PartInUse]) -> None:
        super().__init__()
        self.parts = tuple(parts)


@dataclass(frozen=True, slots=True)
class Apply:
    """One call of apply. `wanted` is the new catalogue; `is_pruning` deletes subscriptions that need removed parts."""

    wanted: Catalogue
    now: datetime
    request_id: str
    is_dry_run: bool = False
    is_pruning: bool = False
    operator: str = NO_CALLER


@dataclass(frozen=True, slots=True)
class Pruned:
    """The losses of a system when parts of the catalogue that it needs are removed."""

    system_id: str
    subscriptions: int
    dropped_messages: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of an apply, or of its dry run."""

    changes: tuple[Change, ...]
    pruned: tuple[Pruned, ...] = ()


async def apply(database: Database, call: Apply) -> Applied:
    """Replace the catalogue by the wanted one and write the audit entries, in one transaction.

    Raises `CatalogueInUse` with all removed parts that subscriptions still need. In that case nothing is changed or
    audited.
    """
    return await database.write(_apply, call)


def build_rejection_entry(call: Apply, parts: Sequence[PartInUse]) -> AuditEntry:
    """Return the audit entry for a call that was rejected because these parts are in use."""
    return _build_entry(call, CATALOGUE, "call", "refused", {"errors": len(parts)})


async def read(database: Database) -> Catalogue:
    """Return the whole catalogue."""
    return await database.read(read_catalogue)


@large_write
def _apply(connection: sa.Connection, call: Apply) -> Applied:
    # Syncs lock this row in shared mode, so no sync sees a partial catalogue or uses a part that is being removed.
    head = audit.lock_chain(connection, CATALOGUE)
    changes = plan_apply(read_catalogue(connection), call.wanted)
    needed = _count_needed(connection, changes)
    parts = find_parts_in_use(changes, needed)
    if parts and not call.is_pruning:
        raise CatalogueInUse(parts)
    pruned = tuple(
        _prune(connection, call, system_id, needed) for system_id in sorted({use.system_id for use in needed})
    )
    if changes and not call.is_dry_run:
        _write(connection, call.wanted, changes)
    applied = Applied(changes, pruned)
    audit.append(connection, CATALOGUE, head, _build_entries(call, applied))
    return applied


def _count_needed(connection: sa.Connection, changes: Sequence[Change]) -> list[SubscriptionCount]:
    """Return the counts of the subscriptions that these changes would make invalid."""
    removed = {change.item for change in changes if change.after is None}
    if not removed:
        return []
    names = (subscriptions.c.system_id, subscriptions.c.org_type, subscriptions.c.entity_type)
    uses = [SubscriptionCount(*row) for row in connection.execute(sa.select(*names, sa.func.count()).group_by(*names))]
    return [use for use in uses if not removed.isdisjoint(list_required_parts(use))]


def _prune(connection: sa.Connection, call: Apply, system_id: str, needed: Iterable[SubscriptionCount]) -> Pruned:
    """Delete subscriptions of one system with their undelivered messages, and audit it in the system's chain."""
    names = {(use.org_type, use.entity_type) for use in needed if use.system_id == system_id}
    # Lock the subscriptions, so that no delivery is queued for them between the count and the commit.
    select = subscriptions.select().where(subscriptions.c.system_id == system_id).with_for_update()
    rows = [row for row in connection.execute(select) if (row.org_type, row.entity_type) in names]
    count = (
        sa.select(deliveries.c.subscription_id, sa.func.count())
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(subscriptions.c.system_id == system_id)
        .group_by(deliveries.c.subscription_id)
    )
    queued: dict[int, int] = {id_: number for id_, number in connection.execute(count)}  # noqa: C416  # Rows are no pairs to mypy.
    pruned = Pruned(system_id, len(rows), sum(queued.get(row.id, 0) for row in rows))
    if not call.is_dry_run:
        head = audit.lock_chain(connection, system_id)
        delete = subscriptions.delete().where(subscriptions.c.id == sa.bindparam("deleted_id"))
        connection.execute(delete, [{"deleted_id": row.id} for row in rows])
        detail = {"deleted": [_to_array(row) for row in rows], "droppedMessages": pruned.dropped_messages}
        audit.append(connection, system_id, head, [_build_entry(call, system_id, "change", "changed", detail)])
    return pruned


def _build_entries(call: Apply, applied: Applied) -> list[AuditEntry]:
    """Return the audit entry of the call, followed by one with all its changes if there are any."""
    changes = applied.changes
    outcome = "dry run" if call.is_dry_run else "changed" if changes else "unchanged"
    counts = {
        "added": sum(change.before is None for change in changes),
        "changed": sum(change.before is not None and change.after is not None for change in changes),
        "removed": sum(change.after is None for change in changes),
        "prunedSubscriptions": sum(pruned.subscriptions for pruned in applied.pruned),
        "droppedMessages": sum(pruned.dropped_messages for pruned in applied.pruned),
    }
    entries = [_build_entry(call, CATALOGUE, "call", outcome, counts)]
    if changes and not call.is_dry_run:
        described = [
            {
                "section": change.item.section,
                "key": list(change.item.key),
                "before": change.before,
                "after": change.after,
            }
            for change in changes
        ]
        entries.append(_build_entry(call, CATALOGUE, "change", outcome, {"changes": described}))
    return entries


def _build_entry(call: Apply, chain: str, kind: str, outcome: str, detail: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        chain=chain,
        kind=kind,
        time=call.now,
        operation=OPERATION,
        caller=call.operator,
        outcome=outcome,
        request_id=call.request_id,
        detail=detail,
    )


def _to_array(row: Any) -> list[Any]:
    """Return a subscription as the audit log stores it: identity, path, start, end."""
    end = None if row.end_time is None else write_time(row.end_time)
    return [row.org_type, row.org_code, row.entity_type, row.webhook_url, write_time(row.start_time), end]


@large_read
def read_catalogue(connection: sa.Connection) -> Catalogue:
    """Return the whole catalogue."""
    fingerprints: dict[str, set[str]] = defaultdict(set)
    for row in connection.execute(certificates.select()):
        fingerprints[row.system_id].add(row.fingerprint)
    event = connection.execute(web_message_events.select()).first()
    return Catalogue(
        systems={
            row.id: System(
                id=row.id,
                name=row.name,
                base_url=row.base_url,
                certificates=frozenset(fingerprints[row.id]),
                webhook_secrets=tuple(row.webhook_secrets),
                allow_private_addresses=row.allow_private_addresses,
                client_certificate=None
                if row.client_certificate is None
                else ClientCertificate(**row.client_certificate),
                ca=row.ca,
                headers=read_headers(row.headers),
                oauth2=read_token_client(row.oauth2),
            )
            for row in connection.execute(systems.select())
        },
        message_types={
            row.entity_type: MessageType(row.entity_type, row.name, row.start_date, row.end_date)
            for row in connection.execute(message_types.select())
        },
        allowed=frozenset(
            Allowed(row.org_type, row.entity_type) for row in connection.execute(allowed_subscriptions.select())
        ),
        web_message_event=None if event is None else WebMessageEvent(event.org_type, event.org_code, event.entity_type),
    )


def read_headers(stored: dict[str, str] | None) -> tuple[StaticHeader, ...]:
    """Return the headers in a row of a system."""
    return () if stored is None else tuple(StaticHeader(*pair) for pair in sorted(stored.items()))


def read_token_client(stored: dict[str, Any] | None) -> TokenClient | None:
    """Return the client for access tokens in a row of a system."""
    if stored is None:
        return None
    return TokenClient(**(stored | {"authentication": ClientAuthentication(stored["authentication"])}))


def _write(connection: sa.Connection, wanted: Catalogue, changes: Iterable[Change]) -> None:
    """Write the changes in an order that satisfies all foreign keys: inserts before references, deletes after them."""
    deleted: dict[str, list[Any]] = defaultdict(list)
    put: dict[str, list[Any]] = defaultdict(list)
    for change in changes:
        (deleted if change.after is None else put)[change.item.section].append(change.item.key)
    if deleted[WEB_MESSAGE_EVENT]:
        connection.execute(web_message_events.delete())
    # The event refers to a message type: update it after the new type is inserted and before the old one is deleted.
    _upsert(connection, message_types, [_build_type_row(wanted.message_types[key]) for (key,) in put[MESSAGE_TYPE]])
    if wanted.web_message_event is not None and put[WEB_MESSAGE_EVENT]:
        _upsert(connection, web_message_events, [{"number": 1, **asdict(wanted.web_message_event)}])
    _delete(connection, allowed_subscriptions, deleted[ALLOWED])
    _delete(connection, message_types, deleted[MESSAGE_TYPE])
    _delete(connection, systems, deleted[SYSTEM])
    _upsert(connection, allowed_subscriptions, [Allowed(*key)._asdict() for key in put[ALLOWED]])
    changed = [wanted.systems[key] for (key,) in put[SYSTEM]]
    _upsert(connection, systems, [_build_system_row(system) for system in changed])
    # Certificates are looked up in each call, so a certificate that is deleted here loses access immediately.
    revoke = certificates.delete().where(certificates.c.system_id == sa.bindparam("key"))
    if changed:
        connection.execute(revoke, [{"key": system.id} for system in changed])
    _upsert(
        connection,
        certificates,
        [
            {"fingerprint": fingerprint, "system_id": system.id}
            for system in changed
            for fingerprint in sorted(system.certificates)
        ],
    )


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or update the existing rows with the same primary keys."""
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    values = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    if values:
        insert = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    if rows:
        connection.execute(insert, rows)


def _delete(connection: sa.Connection, table: sa.Table, keys: list[tuple[str | int, ...]]) -> None:
    """Delete the rows with these primary keys."""
    names = list(table.primary_key)
    delete = table.delete().where(*(column == sa.bindparam(f"key_{column.name}") for column in names))
    if keys:
        connection.execute(
            delete, [{f"key_{column.name}": part for column, part in zip(names, key, strict=True)} for key in keys]
        )


def _build_system_row(system: System) -> dict[str, Any]:
    client = system.client_certificate
    return {
        "id": system.id,
        "name": system.name,
        "base_url": system.base_url,
        "webhook_secrets": list(system.webhook_secrets),
        "allow_private_addresses": system.allow_private_addresses,
        "client_certificate": None if client is None else asdict(client),
        "ca": system.ca,
        "headers": dict(system.headers) or None,
        "oauth2": None if system.oauth2 is None else asdict(system.oauth2),
    }


def _build_type_row(message_type: MessageType) -> dict[str, Any]:
    return {
        "entity_type": message_type.entity_type,
        "name": message_type.name,
        "start_date": message_type.start,
        "end_date": message_type.end,
    }
