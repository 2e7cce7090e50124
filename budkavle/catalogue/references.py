"""Check that the secrets, certificates, keys and CAs that a catalogue refers to exist on this machine."""

import ssl
from collections.abc import Callable
from datetime import datetime

from cryptography import x509

from delivery.receivers import load_client_certificate, trust_ca
from delivery.references import ReceiverMisconfigured, read_file


def check_value(reference: str, read: Callable[[str], object]) -> list[str]:
    """Return the faults of a secret that the worker reads with this function, without its value."""
    try:
        read(reference)
    except ReceiverMisconfigured as exc:
        return [str(exc)]
    return []


def check_ca(reference: str, now: datetime) -> list[str]:
    """Return the faults of a CA file: it cannot be read, or it has a certificate that is not valid now."""
    try:
        data = read_file(reference)
        trust_ca(reference)
    except ReceiverMisconfigured as exc:
        return [str(exc)]
    return _check_dates(reference, data, now)


def check_client_certificate(certificate: str, key: str, now: datetime) -> tuple[list[str], list[str]]:
    """Return the faults of a client certificate and of its key. A mismatch counts as a fault of the key."""
    faults: tuple[list[str], list[str]] = ([], [])
    data = b""
    for reference, found in zip((certificate, key), faults, strict=True):
        try:
            content = read_file(reference)
            data = data or content
        except ReceiverMisconfigured as exc:
            found.append(str(exc))
    if not any(faults):
        faults[0].extend(_check_dates(certificate, data, now))
        try:
            load_client_certificate(ssl.create_default_context(), certificate, key)
        except ReceiverMisconfigured as exc:
            faults[1].append(str(exc))
    return faults


def _check_dates(reference: str, data: bytes, now: datetime) -> list[str]:
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion):
        return [f"{reference} contains no readable certificate in PEM format"]
    faults = []
    for each in certificates:
        if each.not_valid_after_utc < now:
            faults.append(f"{reference}: the certificate has expired on {each.not_valid_after_utc:%Y-%m-%d}")
        elif each.not_valid_before_utc > now:
            faults.append(f"{reference}: the certificate is not valid before {each.not_valid_before_utc:%Y-%m-%d}")
    return faults
