"""Callers of the service, and the scopes that give them access."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MESSAGES_READ: Final = "messages.read"
MESSAGES_WRITE: Final = "messages.write"
PUBLISH: Final = "publish"
OPERATIONS_READ: Final = "operations.read"
OPERATIONS_CHANGE: Final = "operations.change"

_EXPANDED = {
    "messages": frozenset({MESSAGES_READ, MESSAGES_WRITE}),
    MESSAGES_READ: frozenset({MESSAGES_READ}),
    MESSAGES_WRITE: frozenset({MESSAGES_WRITE}),
    PUBLISH: frozenset({PUBLISH}),
    "operations": frozenset({OPERATIONS_READ, OPERATIONS_CHANGE}),
    OPERATIONS_READ: frozenset({OPERATIONS_READ}),
}
"""The scopes by name, each with those that it includes."""

SCOPE_FORMS = (*_EXPANDED, "publish:ORGTYPE", "publish:ORGTYPE:ORGCODE")
"""The forms that `parse_scope` accepts, for texts."""

_LIMITED = re.compile(r"publish:(?P<type>0|[1-9][0-9]{0,9})(?::(?P<code>-1|0|[1-9][0-9]{0,7}))?")

MAX_ORG_TYPE = 2**31 - 1


class CallerKind(StrEnum):
    """The credential that identifies a caller."""

    KEY = "key"
    TOKEN = "token"  # noqa: S105  # The name of a kind.
    CERTIFICATE = "certificate"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: its name in audit and logs, and its rights.

    The name is that of a key, `sha256:<fingerprint>` of a certificate, or `<issuer>#<client>` of a token; names of keys
    have neither form. `scopes` are those that `parse_scope` returns; `systems` are ids in lower case.
    """

    kind: CallerKind
    name: str
    scopes: frozenset[str] = frozenset()
    systems: frozenset[str] = frozenset()
    certificate: str | None = None
    """The SHA-256 of the client certificate in lower-case hex, if the operation requires one."""

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope. `publish` includes a right that is limited to an orgType."""
        return scope in self.scopes or (scope == PUBLISH and any(each.startswith("publish:") for each in self.scopes))

    def may_publish(self, org_type: int, org_code: int) -> bool:
        """Return whether the caller may publish events of this orgType and orgCode."""
        scopes = self.scopes
        return PUBLISH in scopes or f"publish:{org_type}" in scopes or f"publish:{org_type}:{org_code}" in scopes


ANONYMOUS = Caller(CallerKind.NONE, "")
"""The caller of an operation that needs no credentials."""


def build_certificate_caller(fingerprint: str) -> Caller:
    """Return the caller with a client certificate alone, whose systems are still unknown."""
    return Caller(CallerKind.CERTIFICATE, f"sha256:{fingerprint}", certificate=fingerprint)


def check_caller_name(name: str) -> None:
    """Raise `ValueError` unless a new key or an operator may have this name, which no other caller has in the audit."""
    if not name.strip() or not name.isprintable():
        raise ValueError("must not be blank, or contain line breaks or control characters")
    # `%23` is in the names of keys that were created earlier with `#`.
    if "#" in name or "%23" in name or name.startswith(("sha256:", "ip:")) or name in {"-", "*"}:
        raise ValueError("must not be - or *, contain # or %23, or begin with sha256: or ip: as other callers do")


def parse_scope(text: str) -> frozenset[str]:
    """Return the scopes that a scope includes: `messages` and `operations` all of their own, every other one itself.

    Raises `ValueError` for a text outside the grammar.
    """
    if text in _EXPANDED:
        return _EXPANDED[text]
    limited = _LIMITED.fullmatch(text)
    if limited is None or int(limited["type"]) > MAX_ORG_TYPE:
        raise ValueError(f"{text[:100]!r} is not a scope: use one of {', '.join(SCOPE_FORMS)}")
    return frozenset({text})
