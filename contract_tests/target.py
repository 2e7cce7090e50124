"""What is attacked: where it is, who calls it, and what may be done there."""

import base64
import json
import os
import ssl
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from contract_tests.raw_http import CLOSED, Answer, Connection

VARIABLE = "BUDKAVLE_CONTRACT_TARGET"
"""Names the file that tells a suite what to attack."""

API_KEY, PUBLISH_KEY, CERTIFICATE = "{api-key}", "{publish-key}", "{certificate}"
CUT_API_KEY, SWAPPED_API_KEY = "{api-key-cut}", "{api-key-swapped}"
"""The key without its last character, and with small letters for great ones: near to the secret, so just as secret."""
HOST, BASE_PATH = "{host}", "{base-path}"
"""Stand in requests that are written in bytes for what the target asks for."""


@dataclass(frozen=True)
class Identity:
    """Of a subscription, within its system."""

    org_type: int
    org_code: int
    entity_type: int

    def json(self) -> dict[str, int]:
        return {"orgType": self.org_type, "orgCode": self.org_code, "entityType": self.entity_type}


@dataclass(frozen=True)
class Certificate:
    """A client certificate: by TLS where the target speaks it, else in the header that a proxy would send."""

    file: str
    key: str | None
    header: str
    """As RFC 9440 writes it."""

    @property
    def files(self) -> str | tuple[str, str]:
        """As `requests` takes them."""
        return self.file if self.key is None else (self.file, self.key)


@dataclass(frozen=True)
class Target:
    """A running service. What is None is not known, and nothing that needs it is checked."""

    url: str
    """Without a final slash."""
    # Reports of failures show neither keys nor certificates.
    api_key: str | None = field(default=None, repr=False)
    publish_key: str | None = field(default=None, repr=False)
    certificate: Certificate | None = field(default=None, repr=False)
    ca: str | None = None
    """A file with the authority that the service's own certificate is from."""
    system: str | None = None
    """Its set of subscriptions is replaced while checks run."""
    attacked_system: str | None = None
    """Its set must stay as it is. The same system where there is one only: the suites take turns."""
    queued_system: str | None = None
    """It has `queued` and `attacked`, which stay."""
    queued: Identity | None = None
    """A subscription to which anything may be published."""
    attacked: Identity | None = None
    """One to which nothing must ever be published."""
    queued_delivery: str | None = None
    """A parked message to `queued`, where there is one."""
    attacked_delivery: str | None = None
    """A parked message to `attacked` that must stay parked, where there is one."""
    allowed: tuple[tuple[int, int], ...] = ()
    """Pairs of orgType and entityType that may be subscribed to."""
    case: int | None = None
    """A case in Open-E that messages may be published on."""
    own_words: bool = False
    """Whether a refusal of bytes must be in the contract's words: a gateway in front has its own."""
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> Self:
        """The target that `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("queued", "attacked"):
            values[name] = values[name] and Identity(**values[name])
        values["certificate"] = values["certificate"] and Certificate(**values["certificate"])
        values["allowed"] = tuple((org_type, entity_type) for org_type, entity_type in values["allowed"])
        return cls(**values)

    @classmethod
    def of_environment(cls) -> Self | None:
        """The target that this process was started for."""
        path = os.environ.get(VARIABLE)
        return None if path is None else cls.read(Path(path))

    def write(self, path: Path) -> None:
        """Writes it to a file that nobody else may read: there are keys in it."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def with_one_system(self, system: str, queued: Identity, attacked: Identity) -> Self:
        """The same where one system is all that may be touched."""
        return replace(
            self, system=system, attacked_system=system, queued_system=system, queued=queued, attacked=attacked
        )

    @property
    def other_key(self) -> str | None:
        """A key that opens events and no messages, where the two are not the same."""
        return None if self.publish_key == self.api_key else self.publish_key

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def base_path(self) -> str:
        """What stands before each path of a contract; empty for most."""
        return urlsplit(self.url).path

    def below(self, place: str) -> str:
        """A place that an answer names, as the service knows it: a gateway may have put the base path before it."""
        if not self.base_path:
            return place
        for before in (self.url, self.base_path):
            if place.startswith(f"{before}/"):
                return place.removeprefix(before)
        return place

    def fill(self, data: bytes) -> bytes:
        """A request in bytes with this target's host, keys and certificate in the place of what stands for them."""
        certificate = "" if self.certificate is None else self.certificate.header
        if self.is_tls:
            data = data.replace(f"Client-Cert: {CERTIFICATE}\r\n".encode(), b"")
        values = {
            API_KEY: self.api_key,
            CUT_API_KEY: (self.api_key or "")[:-1],
            SWAPPED_API_KEY: (self.api_key or "").swapcase(),
            PUBLISH_KEY: self.publish_key,
            CERTIFICATE: certificate,
            HOST: self._authority,
            BASE_PATH: self.base_path,
        }
        for name, value in values.items():
            data = data.replace(name.encode(), (value or "").encode())
        return data

    def connect(self, *, with_certificate: bool = True) -> Connection:
        """A connection that fills in what stands for hosts, keys and certificates."""
        context = self.tls(with_certificate=with_certificate) if self.is_tls else None
        return Connection(self.host, self.port, self.fill, context, in_own_words=self.own_words)

    def send(self, *pieces: bytes, is_unfinished: bool = False) -> Answer:
        """The answer to one request, sent as it is; `CLOSED` where a gateway may end the connection instead.

        What `is_unfinished` must be refused before it has come; a gateway that waits for it is told that it never will.
        """
        with self.connect(with_certificate=any(CERTIFICATE.encode() in piece for piece in pieces)) as connection:
            connection.send(*pieces)
            if is_unfinished and not self.own_words:
                connection.end_sending()
            answer = connection.answer()
        if answer is None and not self.own_words:
            return CLOSED
        assert answer is not None, "the connection was closed without an answer"
        return answer

    def tls(self, *, with_certificate: bool = True) -> ssl.SSLContext:
        """How this target is trusted, and who calls it."""
        context = ssl.create_default_context(cafile=self.ca)
        if with_certificate and self.certificate is not None:
            context.load_cert_chain(self.certificate.file, self.certificate.key)
        return context

    @property
    def _authority(self) -> str:
        return urlsplit(self.url).netloc


def read_certificate(file: Path, key: Path | None) -> Certificate:
    """The first certificate of a PEM file.

    Raises OSError or ValueError where there is none.
    """
    der = ssl.PEM_cert_to_DER_cert(_first_certificate(file.read_text(encoding="ascii")))
    header = f":{base64.b64encode(der).decode()}:"
    return Certificate(str(file.resolve()), None if key is None else str(key.resolve()), header)


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem or end not in pem:
        raise ValueError("there is no PEM certificate in it")
    return pem[pem.index(begin) : pem.index(end) + len(end)]
