"""The outbox: events, fanned out to the subscriptions that match, in the transaction that accepts them."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from domain.errors import Conflict, UnknownType
from domain.events import Event, order_key, write_content
from domain.subscriptions import COPENHAGEN
from persistence.database import Database
from persistence.tables import deliveries, events, message_types, subscriptions


@dataclass(frozen=True, slots=True)
class Publication:
    """An event, who publishes it and in which request."""

    event: Event
    publisher: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event: to how many subscriptions it goes, and whether it was new."""

    event_id: str
    subscriptions: int
    is_new: bool


async def publish(database: Database, publication: Publication) -> Published:
    """Accepts an event, with a delivery to each subscription that matches it and is valid when it was created.

    The same event again changes nothing. Raises `Conflict` for another one with the same id, and `UnknownType` for a
    message type that is not known or has ended.
    """
    return await database.write(_publish, publication)


def _publish(connection: sa.Connection, publication: Publication) -> Published:
    parameters = _parameters(publication)
    row = connection.execute(_ACCEPT[connection.dialect.name], parameters).first()
    if row is not None:
        if connection.dialect.name == "sqlite" and row.subscriptions:
            connection.execute(_FAN_OUT, parameters)
        return Published(publication.event.id, row.subscriptions, is_new=True)
    known = connection.execute(_KNOWN, {"id": publication.event.id}).first()
    if known is None:
        raise UnknownType
    if known.content != parameters["content"]:
        raise Conflict("An event with this id has been published already, and it was another one")
    return Published(publication.event.id, known.subscriptions, is_new=False)


def _parameters(publication: Publication) -> dict[str, Any]:
    event = publication.event
    return {
        "id": event.id,
        "created": event.created,
        "today": event.created.astimezone(COPENHAGEN).date(),
        "entity_type": event.entity_type,
        "org_type": event.org_type,
        "org_code": event.org_code,
        "key": order_key(event),
        "content": write_content(event),
        "publisher": publication.publisher,
        "request_id": publication.request_id,
    }
