"""The receiver that is checked, and the options of its check."""

import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from contract_tests.tokens import Tokens
from delivery.references import ReceiverMisconfigured, read_signing_key, read_value
from delivery.static_headers import MAX_NAME, find_name_fault

QUICK_SECONDS = 5.0
"""Maximum seconds for a rejection: it needs no work, and a slow one lets anyone keep the receiver busy."""


@dataclass(frozen=True)
class GatewayHeader:
    """A header of each request, for a gateway in front of the receiver."""

    name: str
    reference: str
    value: str = field(repr=False)

    @property
    def shell_word(self) -> str:
        """The value within double quotes of a shell."""
        kind, _, name = self.reference.partition(":")
        return f"${name}" if kind == "env" else f"$(cat {shlex.quote(name)})"


@dataclass(frozen=True)
class ReceiverTarget:
    """A receiver. Without a secret its deliveries are not signed, and cases that need signatures are left out."""

    url: str
    """The URL that gets the deliveries, exactly as it is sent."""
    secret: str | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    """The decoded secret."""
    certificate: Path | None = None
    certificate_key: Path | None = None
    ca: Path | None = None
    look: str | None = None
    """A URL where the receiver lists the ids of the deliveries that it has done."""
    examples: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """The examples of the contract: bodies by name."""
    org_type: int = 1
    org_code: int = 101
    entity_type: int = 202
    timeout: float = 15.0
    """Maximum seconds of an attempt."""
    headers: tuple[GatewayHeader, ...] = ()
    tokens: Tokens | None = field(default=None, repr=False)

    def build_credentials(self) -> dict[str, str]:
        """Return the headers for the gateway."""
        headers = {header.name: header.value for header in self.headers}
        return headers if self.tokens is None else headers | {"Authorization": f"Bearer {self.tokens.current}"}

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme == "https"


@dataclass(frozen=True)
class ReceiverCheck:
    """The options of a check."""

    target: ReceiverTarget
    report: Path
    profile: Literal["quick", "full"] = "quick"
    seed: int = 0
    suites: tuple[str, ...] = ()
    """Only these suites; all if empty."""
    only: tuple[str, ...] = ()
    """Only the cases with these names; all if empty."""
    fail_fast: bool = False


def read_secret(reference: str) -> tuple[str, bytes]:
    """Return the secret of `--secret` without its prefix, and the key in it. Raises `ReceiverMisconfigured`."""
    try:
        key = read_signing_key(reference)
    except ReceiverMisconfigured as exc:
        raise ReceiverMisconfigured(f"--secret: {exc}") from exc
    return b64encode(key).decode().rstrip("="), key


def read_headers(options: Iterable[str]) -> tuple[GatewayHeader, ...]:
    """Return the headers in options such as `X-Api-Key=env:KEY`. Raises `ReceiverMisconfigured`."""
    headers: list[GatewayHeader] = []
    for option in options:
        name, separator, reference = option.partition("=")
        if not separator:
            # Do not include the option: it may contain the value.
            raise ReceiverMisconfigured("--header must be NAME=env:NAME or NAME=file:PATH")
        fault = find_name_fault(name)
        if fault is None and name.lower() in {header.name.lower() for header in headers}:
            fault = "is given twice"
        if fault is not None:
            raise ReceiverMisconfigured(f"the header {name[:MAX_NAME]!r} {fault}")
        try:
            value = read_value(reference)
        except ReceiverMisconfigured as exc:
            raise ReceiverMisconfigured(f"--header {name}: {exc}") from exc
        headers.append(GatewayHeader(name, reference, value))
    return tuple(headers)
