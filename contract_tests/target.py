"""The target of a check: its address, the credentials of the callers, and their permissions."""

import base64
import json
import os
import re
import ssl
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from contract_tests.raw_http import CLOSED, RawConnection, RawResponse
from contract_tests.tokens import is_bound, read_tokens

VARIABLE = "BUDKAVLE_CONTRACT_TARGET"
"""The environment variable with the path of the target's file."""

API_KEY, PUBLISH_KEY, CERTIFICATE, TOKEN = "{api-key}", "{publish-key}", "{certificate}", "{token}"
CUT_API_KEY, SWAPPED_API_KEY = "{api-key-cut}", "{api-key-swapped}"
"""The key without its last character, and with swapped case. Both are as secret as the key itself."""
HOST, BASE_PATH = "{host}", "{base-path}"
"""Placeholders in raw requests for values of the target."""
_PLACEHOLDER = re.compile(
    "|".join(
        re.escape(name)
        for name in (API_KEY, CUT_API_KEY, SWAPPED_API_KEY, PUBLISH_KEY, CERTIFICATE, TOKEN, HOST, BASE_PATH)
    ).encode()
)
"""Find all of them in one pass, since the largest bodies have 150 MB."""


@dataclass(frozen=True)
class SubscriptionIdentity:
    """The identity of a subscription within its system."""

    org_type: int
    org_code: int
    entity_type: int

    def json(self) -> dict[str, int]:
        return {"orgType": self.org_type, "orgCode": self.org_code, "entityType": self.entity_type}


@dataclass(frozen=True)
class Certificate:
    """A client certificate. It is presented by TLS if the target uses TLS, otherwise in the header of a proxy."""

    file: str
    key: str | None
    header: str
    """The value of the header in the format of RFC 9440."""

    @property
    def files(self) -> str | tuple[str, str]:
        """The files in the form that `requests` expects."""
        return self.file if self.key is None else (self.file, self.key)


@dataclass(frozen=True)
class CheckTarget:
    """A running service. Fields that are None are unknown, and checks that need them are skipped."""

    url: str
    """The URL without a final slash."""
    # Failure reports must contain neither keys nor certificates.
    api_key: str | None = field(default=None, repr=False)
    publish_key: str | None = field(default=None, repr=False)
    certificate: Certificate | None = field(default=None, repr=False)
    ca: str | None = None
    """A file with the CA of the service's certificate."""
    token_file: str | None = None
    """A file with access tokens, the current one last; see `tokens.Tokens`."""
    system: str | None = None
    """The system whose set of subscriptions is replaced while checks run."""
    attacked_system: str | None = None
    """A system whose set must stay unchanged. It may be the same system: suites that use it run one after the other."""
    queued_system: str | None = None
    """The system with the permanent subscriptions `queued` and `attacked`."""
    queued: SubscriptionIdentity | None = None
    """A subscription to which any event may be published."""
    attacked: SubscriptionIdentity | None = None
    """A subscription to which no event may be published."""
    queued_delivery: str | None = None
    """The id of a parked delivery to `queued`, if there is one."""
    attacked_delivery: str | None = None
    """The id of a delivery to `attacked` that must stay parked, if there is one."""
    allowed: tuple[tuple[int, int], ...] = ()
    """The pairs of orgType and entityType that may be subscribed to. If empty, they are queried before the checks."""
    case: int | None = None
    """A case in Open-E that messages may be published on."""
    accepts_keys: bool = False
    """Whether the service recognises repetitions by `Idempotency-Key`. Older contracts do not have it."""
    accepts_tokens: bool = False
    """Whether the service asks for access tokens. A service without issuers, or with an older contract, does not."""
    token_reads: bool = False
    """Whether the token gives access to web messages."""
    token_publishes: bool = False
    """Whether the token gives access to events."""
    is_direct: bool = False
    """Whether no gateway is in front of the service, so that errors of raw requests must have the contract's form."""
    seed: int = 0
    municipality: str = "2281"
    """A municipality that the compatibility APIs serve."""
    messages: str | None = "/webmessages"
    """The path of stored messages, by which a check finds those that must have been rejected; None if there is none."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the target that `write` saved."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("queued", "attacked"):
            values[name] = values[name] and SubscriptionIdentity(**values[name])
        values["certificate"] = values["certificate"] and Certificate(**values["certificate"])
        values["allowed"] = tuple((org_type, entity_type) for org_type, entity_type in values["allowed"])
        return cls(**values)

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the target that this process was started for, or None."""
        path = os.environ.get(VARIABLE)
        return None if path is None else cls.read(Path(path))

    def write(self, path: Path) -> None:
        """Save the target in a file that only its owner can read, because it contains keys."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def with_one_system(self, system: str, queued: SubscriptionIdentity, attacked: SubscriptionIdentity) -> Self:
        """Return a copy that uses one system for all purposes."""
        return replace(
            self, system=system, attacked_system=system, queued_system=system, queued=queued, attacked=attacked
        )

    @property
    def other_key(self) -> str | None:
        """Return the key with access to events only, or None if there is none, or no key for messages."""
        return None if self.api_key is None or self.publish_key == self.api_key else self.publish_key

    @property
    def tokens(self) -> list[str]:
        """The tokens of this check, the current one last. Empty if it has none."""
        return [] if self.token_file is None else read_tokens(Path(self.token_file))

    @property
    def token(self) -> str | None:
        return self.tokens[-1] if self.token_file is not None else None

    @property
    def has_bound_token(self) -> bool:
        """Whether the token is bound to a client certificate, which requests with the token present then."""
        return self.token is not None and is_bound(self.token)

    @property
    def has_unbound_token(self) -> bool:
        """Whether any bearer of the token may use it."""
        return self.token is not None and not is_bound(self.token)

    @property
    def sender(self) -> bool:
        """Whether the check has a credential for web messages."""
        return self.api_key is not None or self.token_file is not None

    @property
    def publisher(self) -> bool:
        """Whether the check has a credential for events."""
        return self.publish_key is not None or self.token_publishes

    @property
    def token_without_messages(self) -> bool:
        """Whether the token lacks access to web messages."""
        return self.token_file is not None and not self.token_reads

    @property
    def token_without_events(self) -> bool:
        """Whether the token lacks access to events."""
        return self.token_file is not None and not self.token_publishes

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
        """The prefix of all paths of the contract, usually empty."""
        return urlsplit(self.url).path

    def below(self, place: str) -> str:
        """Return a location from a response without the base path, which a gateway may have added."""
        if not self.base_path:
            return place
        for before in (self.url, self.base_path):
            if place.startswith(f"{before}/"):
                return place.removeprefix(before)
        return place

    def fill(self, data: bytes) -> bytes:
        """Return a raw request with this target's host, keys and certificate in place of the placeholders."""
        certificate = "" if self.certificate is None else self.certificate.header
        if self.is_tls:
            data = data.replace(f"Client-Cert: {CERTIFICATE}\r\n".encode(), b"")
        values = {
            API_KEY: self.api_key,
            CUT_API_KEY: (self.api_key or "")[:-1],
            SWAPPED_API_KEY: (self.api_key or "").swapcase(),
            PUBLISH_KEY: self.publish_key,
            CERTIFICATE: certificate,
            TOKEN: self.token,
            HOST: self._authority,
            BASE_PATH: self.base_path,
        }
        return _PLACEHOLDER.sub(lambda match: (values[match[0].decode()] or "").encode(), data)

    def connect(self, *, with_certificate: bool = True) -> RawConnection:
        """Return a connection that replaces the placeholders in sent bytes."""
        context = self.tls(with_certificate=with_certificate) if self.is_tls else None
        return RawConnection(self.host, self.port, self.fill, context, is_direct=self.is_direct)

    def send(self, *pieces: bytes, is_unfinished: bool = False) -> RawResponse:
        """Send one raw request and return the response, or `CLOSED` if a gateway may close the connection instead.

        A request that `is_unfinished` must be rejected before its end. For a gateway that waits for the end, shut down
        the sending side.
        """
        with self.connect(with_certificate=any(CERTIFICATE.encode() in piece for piece in pieces)) as connection:
            connection.send(*pieces)
            if is_unfinished and not self.is_direct:
                connection.end_sending()
            answer = connection.read_response()
        if answer is None and not self.is_direct:
            return CLOSED
        assert answer is not None, "the connection was closed without an answer"
        return answer

    def tls(self, *, with_certificate: bool = True) -> ssl.SSLContext:
        """Return a TLS context that trusts the target and presents the client certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if with_certificate and self.certificate is not None:
            context.load_cert_chain(self.certificate.file, self.certificate.key)
        return context

    @property
    def _authority(self) -> str:
        return urlsplit(self.url).netloc


def read_certificate(file: Path, key: Path | None) -> Certificate:
    """Return the first certificate in a PEM file.

    Raises OSError or ValueError if there is none.
    """
    der = ssl.PEM_cert_to_DER_cert(_first_certificate(file.read_text(encoding="ascii")))
    header = f":{base64.b64encode(der).decode()}:"
    return Certificate(str(file.resolve()), None if key is None else str(key.resolve()), header)


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem or end not in pem:
        raise ValueError("it contains no PEM certificate")
    return pem[pem.index(begin) : pem.index(end) + len(end)]
