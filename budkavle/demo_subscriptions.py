"""The system of `budkavle dev`: who it is, what it may subscribe to, and the commands that try it."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import datetime

from domain.catalogue import Allowed, System
from domain.subscriptions import Entry, MessageType, read_time
from persistence import catalogue, subscriptions
from persistence.catalogue import Apply
from persistence.database import Database
from persistence.subscriptions import Sync

SYSTEM_ID = "550e8400-e29b-41d4-a716-446655440000"
"""The system that the examples of the contract name."""

CERTIFICATE = (
    "MIHeMIGRoAMCAQICAQEwBQYDK2VwMBgxFjAUBgNVBAMMDUJ1ZGthdmxlIGRlbW8wIBcNMjAwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMBgxFj"
    "AUBgNVBAMMDUJ1ZGthdmxlIGRlbW8wKjAFBgMrZXADIQBbVYafXcU7+GgAFznoNpTfW2XcyM+reRTgK2U51r8u8TAFBgMrZXADQQBDAx31qbpBlmgv8T"
    "mOwvvikBvxwo+XnnPfCyqzlQqgyrGv3i/Q0CYaM5rjanLdyJFUq03TNPKzNkPMcN5PlVcK"
)
"""A certificate, which is no secret; nobody has its key. It is always the same, so that pasted commands last."""

CLIENT_CERT = f":{CERTIFICATE}:"
"""The header as RFC 9440 writes it."""

FINGERPRINT = hashlib.sha256(base64.b64decode(CERTIFICATE)).hexdigest()

_SYSTEM = System(SYSTEM_ID, "Demo", "https://fasit.example/star", frozenset({FINGERPRINT}))
_TYPES = (MessageType(202, "Demo 202"), MessageType(203, "Demo 203"))
_ALLOWED = frozenset({Allowed(1, 202), Allowed(2, 203)})
_START = "2023-01-01T00:00:00"


async def put_demo_system(database: Database, now: datetime, request_id: str) -> None:
    """Makes the system of the examples as it was first, beside whatever else the catalogue has.

    It gets a subscription if it has none, so that there is one to read.
    """
    current = await catalogue.read(database)
    wanted = replace(
        current,
        systems={**current.systems, SYSTEM_ID: _SYSTEM},
        message_types={**current.message_types, **{item.entity_type: item for item in _TYPES}},
        allowed=current.allowed | _ALLOWED,
    )
    await catalogue.apply(database, Apply(wanted, now, request_id))
    if not await subscriptions.list_subscriptions(database, SYSTEM_ID):
        entry = Entry(0, 1, 101, 202, "/webhook", read_time(_START))
        await subscriptions.sync(database, Sync(SYSTEM_ID, [entry], now, f"sha256:{FINGERPRINT}", request_id))


def subscription_commands(service: str) -> str:
    """The commands to paste, one line each."""
    entries = [
        {"orgType": 1, "orgCode": 101, "entityType": 202, "webhookUrl": "/webhook", "startDato": _START},
        {"orgType": 2, "orgCode": 102, "entityType": 203, "webhookUrl": "/webhook", "startDato": _START},
    ]
    body = json.dumps({"systemIdentifier": SYSTEM_ID, "abonnementer": entries})
    header = f"-H 'Client-Cert: {CLIENT_CERT}'"
    sync = f"curl -sS -i -X POST {service}/v1/abonnement/sync {header} -H 'Content-Type: application/json' -d '{body}'"
    return f"""Set all webhook subscriptions of a system, whose certificate a proxy would send along like this:
{sync}

Fetch them:
curl -sS '{service}/v1/abonnement?systemIdentifier={SYSTEM_ID}' {header}
"""
