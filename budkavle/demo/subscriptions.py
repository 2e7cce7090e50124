"""The system of `budkavle dev`: its identity, its allowed subscriptions, and commands to try it."""

import base64
import contextlib
import hashlib
import json
import shlex
import sys
from dataclasses import replace
from datetime import date, datetime

from budkavle.demo.issuer import CLIENT, SECRET
from budkavle.demo.receiver import SECRET_VARIABLE
from domain.callers import build_certificate_caller
from domain.catalogue import Allowed, System
from domain.errors import Conflict
from domain.events import Event
from domain.subscriptions import Entry, MessageType, read_time
from persistence import catalogue, outbox, subscriptions
from persistence.catalogue import Apply
from persistence.database import Database
from persistence.outbox import Publication
from persistence.subscriptions import SyncCall

SYSTEM_ID = "550e8400-e29b-41d4-a716-446655440000"
"""The system in the examples of the contract."""

CERTIFICATE = (
    "MIHeMIGRoAMCAQICAQEwBQYDK2VwMBgxFjAUBgNVBAMMDUJ1ZGthdmxlIGRlbW8wIBcNMjAwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMBgxFj"
    "AUBgNVBAMMDUJ1ZGthdmxlIGRlbW8wKjAFBgMrZXADIQBbVYafXcU7+GgAFznoNpTfW2XcyM+reRTgK2U51r8u8TAFBgMrZXADQQBDAx31qbpBlmgv8T"
    "mOwvvikBvxwo+XnnPfCyqzlQqgyrGv3i/Q0CYaM5rjanLdyJFUq03TNPKzNkPMcN5PlVcK"
)
"""A certificate, which is not secret, without a known key. It is constant, so that pasted commands stay valid."""

CLIENT_CERT = f":{CERTIFICATE}:"
"""The value of the header in the format of RFC 9440."""

FINGERPRINT = hashlib.sha256(base64.b64decode(CERTIFICATE)).hexdigest()

_TYPES = (
    MessageType(202, "Demo 202"),
    MessageType(203, "Demo 203"),
    # For contract checks, which test a type that has ended.
    MessageType(204, "Demo 204", end=date(2020, 12, 31)),
)
_ALLOWED = frozenset({Allowed(1, 202), Allowed(2, 203), Allowed(2, 204)})
_EVENT = {
    "entityType": 202,
    "orgType": 1,
    "orgCode": 101,
    "aendringstype": 1,
    "identifikationstypeId": 1,
    # No real personal number: there is no month 99.
    "identifikation": "9999999999",
    "body": {"hello": "world"},
}
_KNOWN_EVENT = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"
"""The event in the examples of the contract. It has no subscription."""
_START = "2023-01-01T00:00:00"


async def put_demo_system(database: Database, receiver: str, now: datetime, request_id: str) -> None:
    """Restore the system of the examples to its initial state, without changing the rest of the catalogue.

    Its events are delivered to the receiver at that address. If it has no subscription, one is created. The event of
    the examples exists afterwards.
    """
    system = System(
        SYSTEM_ID,
        "Demo",
        receiver,
        frozenset({FINGERPRINT}),
        webhook_secrets=(f"env:{SECRET_VARIABLE}",),
        # The receiver is on this machine.
        allow_private_addresses=True,
    )
    current = await catalogue.read(database)
    wanted = replace(
        current,
        systems={**current.systems, SYSTEM_ID: system},
        message_types={**current.message_types, **{item.entity_type: item for item in _TYPES}},
        allowed=current.allowed | _ALLOWED,
    )
    await catalogue.apply(database, Apply(wanted, now, request_id))
    if not await subscriptions.list_subscriptions(database, SYSTEM_ID):
        entry = Entry(0, 1, 101, 202, "/webhook", read_time(_START))
        caller = build_certificate_caller(FINGERPRINT)
        await subscriptions.sync(database, SyncCall(SYSTEM_ID, [entry], now, caller, request_id))
    event = Event(_KNOWN_EVENT, entity_type=202, org_type=1, org_code=100, change=1, created=now)
    # The user may have published another event with this id.
    with contextlib.suppress(Conflict):
        await outbox.publish(database, Publication(event, "demo", request_id))


def build_subscription_commands(service: str, api_key: str) -> str:
    """Return the commands to paste, one per line."""
    entries = [
        {"orgType": 1, "orgCode": 101, "entityType": 202, "webhookUrl": "/webhook", "startDato": _START},
        {"orgType": 2, "orgCode": 102, "entityType": 203, "webhookUrl": "/webhook", "startDato": _START},
    ]
    body = json.dumps({"systemIdentifier": SYSTEM_ID, "abonnementer": entries})
    key = f"-H 'apikey: {api_key}'"
    header = f"-H 'Client-Cert: {CLIENT_CERT}'"
    sync = f"curl -sS -i -X POST {service}/v1/abonnement/sync {header} -H 'Content-Type: application/json' -d '{body}'"
    event = json.dumps(_EVENT)
    publish = f"curl -sS -i -X POST {service}/v1/besked {key} -H 'Content-Type: application/json' -d '{event}'"
    return f"""Set all webhook subscriptions of a system. The header has its certificate, as a proxy would send it:
{sync}

Fetch them:
curl -sS '{service}/v1/abonnement?systemIdentifier={SYSTEM_ID}' {header}

Publish an event, which is delivered to the first subscription at once:
{publish}

List the undelivered events of the system, for example because its receiver does not respond:
curl -sS '{service}/v1/abonnement/beskeder?systemIdentifier={SYSTEM_ID}' {header}
"""


def check_command(service: str, api_key: str, token_url: str) -> str:
    """Return the command that checks the contract on the demo. It first writes the certificate to a file."""
    pem = f"-----BEGIN CERTIFICATE-----\\n{CERTIFICATE}\\n-----END CERTIFICATE-----\\n"
    file = "demo-certificate.pem"
    # The location of the program depends on the installation.
    program = shlex.quote(sys.argv[0]) if sys.argv[0].endswith("budkavle") else "budkavle"
    check = f"{program} contract-check {service} --api-key {api_key} --client-cert {file} --case 1068"
    token = f"--token-url {token_url} --client-id {CLIENT}"
    return f"printf -- '{pem}' > {file} && BUDKAVLE_CHECK_CLIENT_SECRET={SECRET} {check} {token}"
