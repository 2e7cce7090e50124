"""The catalogue (systems, message types and permissions, as operators configure them) and its changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from domain.subscriptions import MessageType


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The client certificate and key used for calls to a system, each as `file:` and an absolute path."""

    certificate: str
    key: str


class StaticHeader(NamedTuple):
    """A header of every delivery to a system. `value` is a reference."""

    name: str
    value: str


class ClientAuthentication(StrEnum):
    """The place of the client's secret in a request for a token, as registered for OAuth 2.0 (RFC 7591)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"


@dataclass(frozen=True, slots=True)
class TokenClient:
    """The client that requests access tokens for deliveries to a system. `client_secret` is a reference.

    `audience` and `resource` are parameters of the request, which some endpoints require.
    """

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    audience: str | None = None
    resource: str | None = None
    authentication: ClientAuthentication = ClientAuthentication.BASIC


@dataclass(frozen=True, slots=True)
class System:
    """A receiver of events.

    `certificates` are SHA-256 fingerprints in lower-case hex. `webhook_secrets` are references, newest first. `headers`
    are sorted by name.
    `base_url` does not end with `/`, because the webhookUrl that is appended to it begins with one.
    """

    id: str
    name: str
    base_url: str
    certificates: frozenset[str] = frozenset()
    webhook_secrets: tuple[str, ...] = ()
    allow_private_addresses: bool = False
    client_certificate: ClientCertificate | None = None
    ca: str | None = None
    headers: tuple[StaticHeader, ...] = ()
    oauth2: TokenClient | None = None


class Allowed(NamedTuple):
    """The permission of organisations of one type to subscribe to one message type."""

    org_type: int
    entity_type: int


@dataclass(frozen=True, slots=True)
class WebMessageEvent:
    """The event that the service publishes for every stored or published web message."""

    org_type: int
    org_code: int
    entity_type: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The complete configuration that operators maintain."""

    systems: Mapping[str, System]
    message_types: Mapping[int, MessageType]
    allowed: frozenset[Allowed] = frozenset()
    web_message_event: WebMessageEvent | None = None


class Item(NamedTuple):
    """The identity of a part of the catalogue: its section of the file and its key within the section."""

    section: str
    key: tuple[str | int, ...]


SYSTEM, MESSAGE_TYPE, ALLOWED, WEB_MESSAGE_EVENT = "system", "messageType", "allowedSubscription", "webMessageEvent"

_ORDER = (SYSTEM, MESSAGE_TYPE, ALLOWED, WEB_MESSAGE_EVENT)


@dataclass(frozen=True, slots=True)
class Change:
    """A part that is created (`before` is None), deleted (`after` is None) or updated. Values use the file's names."""

    item: Item
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SubscriptionCount:
    """The number of subscriptions of one system to one message type for one orgType."""

    system_id: str
    org_type: int
    entity_type: int
    subscriptions: int


@dataclass(frozen=True, slots=True)
class PartInUse:
    """A part that cannot be deleted, the systems whose subscriptions need it, and the number of these subscriptions."""

    item: Item
    systems: tuple[str, ...]
    subscriptions: int


def plan_apply(current: Catalogue, wanted: Catalogue) -> tuple[Change, ...]:
    """Return the changes from `current` to `wanted`, ordered by section (systems, types, pairs, event) and key."""
    before, after = list_parts(current), list_parts(wanted)
    items = sorted({*before, *after}, key=lambda item: (_ORDER.index(item.section), item.key))
    return tuple(
        Change(item, before.get(item), after.get(item)) for item in items if before.get(item) != after.get(item)
    )


def list_parts(catalogue: Catalogue) -> dict[Item, dict[str, Any]]:
    """Return each part of a catalogue with the names and types of the file. Comparison and output use this form."""
    parts: dict[Item, dict[str, Any]] = {}
    for system in catalogue.systems.values():
        parts[Item(SYSTEM, (system.id,))] = _describe_system(system)
    for message_type in catalogue.message_types.values():
        parts[Item(MESSAGE_TYPE, (message_type.entity_type,))] = {
            "name": message_type.name,
            "startDato": None if message_type.start is None else message_type.start.isoformat(),
            "slutDato": None if message_type.end is None else message_type.end.isoformat(),
        }
    for pair in catalogue.allowed:
        parts[Item(ALLOWED, tuple(pair))] = {}
    event = catalogue.web_message_event
    if event is not None:
        parts[Item(WEB_MESSAGE_EVENT, ())] = {
            "orgType": event.org_type,
            "orgCode": event.org_code,
            "entityType": event.entity_type,
        }
    return parts


def find_parts_in_use(changes: Iterable[Change], uses: Iterable[SubscriptionCount]) -> tuple[PartInUse, ...]:
    """Return the parts that `changes` would delete although subscriptions need them, in the order of the changes."""
    needed_by: dict[Item, list[SubscriptionCount]] = {}
    for use in uses:
        for item in list_required_parts(use):
            needed_by.setdefault(item, []).append(use)
    return tuple(
        PartInUse(
            change.item,
            tuple(sorted({use.system_id for use in needed_by[change.item]})),
            sum(use.subscriptions for use in needed_by[change.item]),
        )
        for change in changes
        if change.after is None and change.item in needed_by
    )


def list_required_parts(use: SubscriptionCount) -> tuple[Item, ...]:
    """Return the parts of the catalogue that these subscriptions need."""
    return (
        Item(SYSTEM, (use.system_id,)),
        Item(MESSAGE_TYPE, (use.entity_type,)),
        Item(ALLOWED, (use.org_type, use.entity_type)),
    )


def _describe_system(system: System) -> dict[str, Any]:
    client = system.client_certificate
    return {
        "name": system.name,
        "baseUrl": system.base_url,
        "certificates": [f"sha256:{fingerprint}" for fingerprint in sorted(system.certificates)],
        "webhookSecrets": list(system.webhook_secrets),
        "allowPrivateAddresses": system.allow_private_addresses,
        "clientCertificate": None if client is None else {"certificate": client.certificate, "key": client.key},
        "ca": system.ca,
        "headers": dict(system.headers),
        "oauth2": None if system.oauth2 is None else _describe_token_client(system.oauth2),
    }


def _describe_token_client(client: TokenClient) -> dict[str, Any]:
    optional = {"scope": client.scope, "audience": client.audience, "resource": client.resource}
    return {
        "tokenUrl": client.token_url,
        "clientId": client.client_id,
        "clientSecret": client.client_secret,
        **{name: value for name, value in optional.items() if value is not None},
        "authentication": str(client.authentication),
    }
