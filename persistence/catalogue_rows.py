"""Convert the catalogue to rows of its tables and back."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.catalogue import (
    ALLOWED,
    MESSAGE_TYPE,
    SYSTEM,
    WEB_MESSAGE_EVENT,
    Allowed,
    Catalogue,
    Change,
    ClientCertificate,
    System,
    WebMessageEvent,
)
from domain.subscriptions import MessageType
from persistence.tables import allowed_subscriptions, certificates, message_types, systems, web_message_events


def read(connection: sa.Connection) -> Catalogue:
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


def write(connection: sa.Connection, wanted: Catalogue, changes: Iterable[Change]) -> None:
    """Write the changes in an order that satisfies all foreign keys: inserts before references, deletes after them."""
    deleted: dict[str, list[Any]] = defaultdict(list)
    put: dict[str, list[Any]] = defaultdict(list)
    for change in changes:
        (deleted if change.after is None else put)[change.item.section].append(change.item.key)
    if deleted[WEB_MESSAGE_EVENT]:
        connection.execute(web_message_events.delete())
    # The event refers to a message type: update it after the new type is inserted and before the old one is deleted.
    _put(connection, message_types, [_type_row(wanted.message_types[key]) for (key,) in put[MESSAGE_TYPE]])
    if wanted.web_message_event is not None and put[WEB_MESSAGE_EVENT]:
        _put(connection, web_message_events, [{"number": 1, **asdict(wanted.web_message_event)}])
    _delete(connection, allowed_subscriptions, deleted[ALLOWED])
    _delete(connection, message_types, deleted[MESSAGE_TYPE])
    _delete(connection, systems, deleted[SYSTEM])
    _put(connection, allowed_subscriptions, [Allowed(*key)._asdict() for key in put[ALLOWED]])
    changed = [wanted.systems[key] for (key,) in put[SYSTEM]]
    _put(connection, systems, [_system_row(system) for system in changed])
    # Certificates are looked up in each call, so a certificate that is deleted here loses access immediately.
    revoke = certificates.delete().where(certificates.c.system_id == sa.bindparam("key"))
    if changed:
        connection.execute(revoke, [{"key": system.id} for system in changed])
    _put(
        connection,
        certificates,
        [
            {"fingerprint": fingerprint, "system_id": system.id}
            for system in changed
            for fingerprint in sorted(system.certificates)
        ],
    )


def _put(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
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


def _system_row(system: System) -> dict[str, Any]:
    client = system.client_certificate
    return {
        "id": system.id,
        "name": system.name,
        "base_url": system.base_url,
        "webhook_secrets": list(system.webhook_secrets),
        "allow_private_addresses": system.allow_private_addresses,
        "client_certificate": None if client is None else asdict(client),
        "ca": system.ca,
    }


def _type_row(message_type: MessageType) -> dict[str, Any]:
    return {
        "entity_type": message_type.entity_type,
        "name": message_type.name,
        "start_date": message_type.start,
        "end_date": message_type.end,
    }
