"""Provide our own service to the suites of the contract check: systems, allowed types, waiting deliveries."""

from pathlib import Path

from budkavle.clock import now
from budkavle.demo.issuer import SCOPES, DemoIssuer
from conftest import MESSAGES_KEY, PUBLISH_KEY
from contract_tests.target import Certificate, CheckTarget, SubscriptionIdentity
from tests.catalogue_rows import put_message_types, put_parked_message, put_system
from tests.handlers import callers

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
"""The system that the caller may access: that of the examples."""
ATTACKED_SYSTEM = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"
"""A system that must never have subscriptions: every sync of its set must be refused or empty."""
QUEUED_SYSTEM = "1c2f4c1e-5798-41e9-ae24-57fa13b361e1"
"""A system with waiting deliveries; its subscriptions do not change."""
QUEUED = SubscriptionIdentity(1, 101, 202)
QUEUED_DELIVERY = "2d3f4c1e-5798-41e9-ae24-57fa13b361e1"
ATTACKED = SubscriptionIdentity(1, 66606, 202)
ATTACKED_DELIVERY = "3e4f4c1e-5798-41e9-ae24-57fa13b361e1"
ALLOWED = tuple(
    (org_type, entity_type)
    for org_type in (0, 1, 2, 8, 2147483647)
    for entity_type in (0, 1, 202, 203, 100008, 2147483647)
)


def write_issuer_files(folder: Path) -> tuple[Path, Path]:
    """Write the file of issuers of a service, and one with a token of all scopes, and return both."""
    issuer = DemoIssuer(now)
    tokens = folder / "tokens"
    tokens.write_text(issuer.create_token(*SCOPES))
    return issuer.write_files(folder), tokens


def put_target_rows(database_url: str, certificate: callers.Certificate) -> None:
    """Store the rows that the target declares."""
    put_message_types(database_url, *ALLOWED)
    for system_id in (SYSTEM, ATTACKED_SYSTEM, QUEUED_SYSTEM):
        put_system(database_url, system_id, certificate.fingerprint)
    put_parked_message(database_url, QUEUED_SYSTEM, tuple(QUEUED.json().values()), QUEUED_DELIVERY)
    put_parked_message(database_url, QUEUED_SYSTEM, tuple(ATTACKED.json().values()), ATTACKED_DELIVERY)


def create_check_target(url: str, certificate: callers.Certificate, tokens: Path | None = None) -> CheckTarget:
    """Return the target for the service at that address. `tokens` is a file with a token of all scopes, if any."""
    return CheckTarget(
        url,
        api_key=MESSAGES_KEY,
        publish_key=PUBLISH_KEY,
        certificate=Certificate("", None, certificate.header),
        system=SYSTEM,
        attacked_system=ATTACKED_SYSTEM,
        queued_system=QUEUED_SYSTEM,
        queued=QUEUED,
        attacked=ATTACKED,
        queued_delivery=QUEUED_DELIVERY,
        attacked_delivery=ATTACKED_DELIVERY,
        allowed=ALLOWED,
        case=1068,
        accepts_keys=True,
        token_file=None if tokens is None else str(tokens),
        accepts_tokens=tokens is not None,
        token_reads=tokens is not None,
        token_publishes=tokens is not None,
        is_direct=True,
    )
