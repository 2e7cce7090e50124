"""Checks of secrets: those of the settings, and the references of the catalogue. No value is ever in a finding."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from budkavle.doctor.certificates import check_permissions
from budkavle.doctor.findings import Findings
from budkavle.sealing import SealRefused, read_private_key
from budkavle.settings import Settings
from delivery.references import ReceiverMisconfigured, read_signing_key, read_value, resolve_path
from domain.catalogue import System

MIN_KEY_BYTES = 24
"""Minimum bytes of a signing key. Source: Standard Webhooks, signature scheme."""


def check_setting_secrets(findings: Findings, settings: Settings) -> None:
    """Check the accounts for Open-E, the keys of the audit and of its seals, and the secret of operator events."""
    for instance, account in settings.build_accounts().items():
        variable = f"BUDKAVLE_OPEN_E_{instance.name}"
        if bool(account.username) != bool(account.password):
            findings.add_problem(
                f"{variable}_USERNAME and {variable}_PASSWORD belong together", "set both, or none of them"
            )
        elif account.username:
            findings.add_ok(f"{variable}_PASSWORD is set")
        url = urlsplit(account.url)
        if account.username and url.scheme == "http" and url.hostname not in {"127.0.0.1", "::1", "localhost"}:
            findings.add_warning(f"{variable}_URL sends a password without TLS", "use https://")
    _check_audit_keys(findings, settings)
    if settings.operator_webhook_url is not None:
        _check_operator_secret(findings, settings.operator_webhook_secret)
    if not findings.found:
        findings.add_ok("the settings have none")


def _check_audit_keys(findings: Findings, settings: Settings) -> None:
    for reference in settings.audit_key:
        place = "for every process that writes to the audit"
        if _check_signing_key(findings, "BUDKAVLE_AUDIT_KEY: ", reference, "see how-to/audit.md", place):
            findings.add_ok(f"BUDKAVLE_AUDIT_KEY: {reference} is a secret")
    if settings.audit_seal_key is not None:
        try:
            read_private_key(settings.audit_seal_key)
        except SealRefused as exc:
            findings.add_problem(f"BUDKAVLE_AUDIT_SEAL_KEY: {exc}", "name a PEM file with an Ed25519 key")
        else:
            findings.add_ok("BUDKAVLE_AUDIT_SEAL_KEY is readable")
        check_permissions(findings, "BUDKAVLE_AUDIT_SEAL_KEY", settings.audit_seal_key)


def _check_operator_secret(findings: Findings, reference: str) -> None:
    name = "BUDKAVLE_OPERATOR_WEBHOOK_SECRET"
    if not reference:
        findings.add_problem(f"BUDKAVLE_OPERATOR_WEBHOOK_URL needs {name}", "set it; without it no worker starts")
    elif _check_signing_key(findings, f"{name}: ", reference, "see how-to/operator-events.md"):
        findings.add_ok(f"{name} is a secret")


def check_webhook_secrets(findings: Findings, systems: Iterable[System]) -> None:
    """Check that the webhook secrets of the catalogue can be resolved here and are strong enough."""
    number = 0
    for system in systems:
        for reference in system.webhook_secrets:
            number += 1
            _check_signing_key(findings, f"system {system.id}: ", reference, "see how-to/catalogue.md")
    findings.add_ok(f"{number} webhook secrets in the catalogue")


def _check_signing_key(
    findings: Findings, owner: str, reference: str, source: str, place: str = "where the workers run, and check there"
) -> bool:
    """Return whether a signing key can be resolved here and is strong enough."""
    try:
        key = read_signing_key(reference)
    except ReceiverMisconfigured as exc:
        findings.add_problem(f"{owner}{exc}", f"set it {place}")
        return False
    if len(key) < MIN_KEY_BYTES:
        findings.add_problem(
            f"{owner}{reference} has {len(key)} bytes, fewer than {MIN_KEY_BYTES}", f"replace it: {source}"
        )
    if reference.startswith("file:"):
        check_permissions(findings, f"{owner}{reference}", resolve_path(reference))
    return len(key) >= MIN_KEY_BYTES


def check_gateway_secrets(findings: Findings, systems: Iterable[System]) -> None:
    """Check that the values of headers and the secrets of OAuth 2.0 clients in the catalogue can be resolved here."""
    number = 0
    for system in systems:
        client = () if system.oauth2 is None else (system.oauth2.client_secret,)
        for reference in (*(header.value for header in system.headers), *client):
            number += 1
            try:
                read_value(reference)
            except ReceiverMisconfigured as exc:
                findings.add_problem(f"system {system.id}: {exc}", "set it where the workers run, and check there")
                continue
            if reference.startswith("file:"):
                check_permissions(findings, f"system {system.id}: {reference}", resolve_path(reference))
    if number:
        findings.add_ok(f"{number} secrets for gateways in the catalogue")
