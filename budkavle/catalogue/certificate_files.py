"""Read certificates in PEM files."""

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from domain.errors import BudkavleError

MAX_BYTES = 1024 * 1024


class CertificateFileWrong(BudkavleError):
    """The file does not contain exactly one certificate."""


def read_fingerprint(path: Path) -> str:
    """Return the SHA-256 of the only certificate in a PEM file: lower-case hex of its DER form.

    Raises `CertificateFileWrong`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise CertificateFileWrong(f"{path} cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_BYTES:
        raise CertificateFileWrong(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as exc:
        raise CertificateFileWrong(f"{path} contains no readable certificate in PEM format") from exc
    if len(certificates) > 1:
        # Reject a chain: it would give access to all holders of certificates of its CA.
        raise CertificateFileWrong(
            f"{path} holds {len(certificates)} certificates; name a file with the caller's alone"
        )
    return compute_fingerprint(certificates[0])


def compute_fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER form in lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
