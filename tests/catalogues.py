"""Build catalogues for tests, with default values."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from domain.catalogue import (
    Allowed,
    Catalogue,
    ClientAuthentication,
    StaticHeader,
    System,
    TokenClient,
    WebMessageEvent,
)
from domain.subscriptions import MessageType

SYSTEM_ID = "550e8400-e29b-41d4-a716-446655440000"
OTHER_ID = "660e8400-e29b-41d4-a716-446655440000"
FINGERPRINT = "9f" * 32


HEADERS = (StaticHeader("Authorization-2", "file:/secrets/two"), StaticHeader("X-Api-Key", "env:GATEWAY_KEY"))
TOKEN_CLIENT = TokenClient(
    "https://login.example/token",
    "budkavle",
    "env:CLIENT_SECRET",
    scope="star.webhooks",
    audience="https://api.example",
    resource="urn:api",
    authentication=ClientAuthentication.POST,
)


def build_system(id_: str = SYSTEM_ID, **changes: Any) -> System:
    values: dict[str, Any] = {
        "id": id_,
        "name": "Fasit",
        "base_url": "https://fasit.example/star",
        "certificates": frozenset({FINGERPRINT}),
    }
    return System(**(values | changes))


def build_catalogue(
    *systems: System,
    types: Iterable[int | MessageType] = (202, 203),
    allowed: Iterable[tuple[int, int]] = ((1, 202), (2, 203)),
    event: WebMessageEvent | None = None,
) -> Catalogue:
    """Return a catalogue with two types, each allowed to one orgType by default."""
    all_types = [MessageType(item, f"Type {item}") if isinstance(item, int) else item for item in types]
    return Catalogue(
        systems={item.id: item for item in systems or (build_system(),)},
        message_types={item.entity_type: item for item in all_types},
        allowed=frozenset(Allowed(*pair) for pair in allowed),
        web_message_event=event,
    )


def build_message_type(entity_type: int = 202, name: str = "Type 202", **dates: date) -> MessageType:
    return MessageType(entity_type, name, **dates)


EMPTY = Catalogue(systems={}, message_types={})
