"""Issue certificates of test CAs, and create clients that use them."""

import base64
import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

TODAY = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate; `file` also contains its key."""

    file: Path
    pem: str
    der: bytes

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def header(self) -> str:
        """Return the header as RFC 9440 encodes it."""
        return f":{base64.b64encode(self.der).decode()}:"

    @property
    def escaped(self) -> str:
        """Return the PEM as nginx and Envoy encode it."""
        return quote(self.pem, safe="")


class Authority:
    """A CA with its files in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        self._ca = trustme.CA()
        self._count = 0
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self,
        *names: str,
        begins: datetime = TODAY - DAY,
        ends: datetime = TODAY + DAY,
        common_name: str | None = None,
    ) -> Issued:
        """Issue a certificate for these hosts, or for a client; valid from yesterday to tomorrow."""
        self._count += 1
        leaf = self._ca.issue_cert(
            *(names or ("client@example.org",)), not_before=begins, not_after=ends, common_name=common_name
        )
        file = self._folder / f"{self._name}-{self._count}.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(str(file))
        pem = leaf.cert_chain_pems[0].bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        return Issued(file, pem.decode(), der)

    def create_context(self, shown: Issued | None = None) -> ssl.SSLContext:
        """Return an SSL context that trusts this CA, with an optional client certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(str(shown.file))
        return context

    @contextmanager
    def client(self, url: str, shown: Issued | None = None) -> Iterator[httpx.Client]:
        """Yield an HTTP client that trusts this CA, with an optional client certificate."""
        with httpx.Client(base_url=url, verify=self.create_context(shown), timeout=60, trust_env=False) as client:
            yield client
