"""Checks of certificates and keys in files: dates, chain, match and permissions."""

import itertools
import ssl
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from budkavle.doctor.findings import Findings
from budkavle.settings import Settings, SettingsUnusable
from budkavle.tls import build_server_context
from delivery.receivers import load_client_certificate
from delivery.references import ReceiverMisconfigured
from domain.catalogue import System

EXPIRY_DAYS = 30, 14
"""Days before the end of a certificate from which there is a warning, and a problem."""


def check_server_certificates(findings: Findings, settings: Settings, now: datetime) -> None:
    """Check the files of the settings: the certificate and key of the service, and the CAs."""
    try:
        context = build_server_context(settings)
    except SettingsUnusable as exc:
        findings.add_problem(str(exc).partition(": ")[2], "correct these settings or files")
    else:
        if context is None:
            findings.add_ok("the service listens without TLS")
        elif settings.tls_cert is not None and settings.tls_key is not None:
            findings.add_ok("BUDKAVLE_TLS_KEY is the key of BUDKAVLE_TLS_CERT")
    if settings.tls_cert is not None:
        check_certificates(findings, "BUDKAVLE_TLS_CERT", settings.tls_cert, now)
    if settings.tls_key is not None:
        check_permissions(findings, "BUDKAVLE_TLS_KEY", settings.tls_key)
    for name, path in (
        ("BUDKAVLE_CLIENT_CA", settings.client_ca),
        ("BUDKAVLE_OPEN_E_CA", settings.open_e_ca),
        ("BUDKAVLE_OPERATOR_WEBHOOK_CA", settings.operator_webhook_ca),
    ):
        if path is not None:
            check_certificates(findings, name, path, now, is_ca=True)


def check_receiver_certificates(findings: Findings, system: System, now: datetime) -> None:
    """Check the certificates that calls to a system use: dates, chain, match and permissions."""
    name = f"system {system.id}"
    if system.client_certificate is not None:
        references = (system.client_certificate.certificate, system.client_certificate.key)
        path, key = (Path(reference.removeprefix("file:")) for reference in references)
        check_certificates(findings, f"{name}: clientCertificate", path, now)
        check_permissions(findings, f"{name}: key", key)
        try:
            load_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), *references)
        except ReceiverMisconfigured as exc:
            findings.add_problem(f"{name}: {exc}", "put both files there, in PEM format and without a password")
    if system.ca is not None:
        check_certificates(findings, f"{name}: ca", Path(system.ca.removeprefix("file:")), now, is_ca=True)


def check_certificates(findings: Findings, name: str, path: Path, now: datetime, *, is_ca: bool = False) -> None:
    """Check the certificates in a file. Without `is_ca` it is a chain: each certificate is issued by the next one."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as exc:
        findings.add_problem(f"{name}: {path} cannot be read: {exc.strerror}", "give this user the right to read it")
        return
    except (ValueError, x509.InvalidVersion):
        findings.add_problem(f"{name}: {path} has no readable certificate", "put certificates in PEM format there")
        return
    check_expiry(findings, name, min(each.not_valid_after_utc for each in certificates), now)
    begins = max(each.not_valid_before_utc for each in certificates)
    if begins > now:
        findings.add_problem(
            f"{name} is not valid before {begins:%Y-%m-%d %H:%M} UTC", "check the clock of this machine"
        )
    if is_ca and not all(map(_is_ca, certificates)):
        findings.add_problem(
            f"{name}: {path} has a certificate that is not of a CA", "put the certificate of the CA there"
        )
    if not is_ca:
        for number in _find_gaps(certificates):
            findings.add_problem(
                f"{name}: certificate {number} of {path} is not issued by the next one",
                "put the certificate of the service first, then its intermediates in order",
            )


def check_expiry(findings: Findings, name: str, expires: datetime, now: datetime) -> None:
    """Check when a certificate expires."""
    days = int((expires - now).total_seconds() // 86_400)
    warning, problem = EXPIRY_DAYS
    if expires <= now:
        findings.add_problem(f"{name} expired on {expires:%Y-%m-%d}", "install a renewed certificate")
    elif days <= warning:
        add = findings.add_problem if days <= problem else findings.add_warning
        add(f"{name} expires in {days} days, on {expires:%Y-%m-%d}", "install a renewed certificate")
    else:
        findings.add_ok(f"{name} expires in {days} days")


def check_permissions(findings: Findings, name: str, path: Path) -> None:
    """Check that a file with a secret is readable for this user, and not for every user of the machine."""
    try:
        with path.open("rb"):
            mode = path.stat().st_mode
    except OSError as exc:
        findings.add_problem(f"{name}: {path} cannot be read: {exc.strerror}", "give this user the right to read it")
        return
    if mode & stat.S_IRWXO:
        findings.add_warning(f"{name}: every user of this machine can use {path}", f"chmod o= {path}")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        # CAs of version 1 have no extensions.
        return certificate.version is x509.Version.v1


def _find_gaps(chain: list[x509.Certificate]) -> Iterator[int]:
    """Yield the number of each certificate that the next one has not issued."""
    for number, (issued, issuer) in enumerate(itertools.pairwise(chain), 1):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            yield number
