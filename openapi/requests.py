"""What a handler is given: one request, decoded and checked against its contract."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.responses import Response

from domain.attachments import Content
from domain.audit import NO_SYSTEM
from domain.errors import Invalid, RefusalReason, Violation

CALL = "budkavle.call"
"""Where the call stands in an ASGI scope, for operations that are audited."""


@dataclass(slots=True)
class Call:
    """What the audit knows of a call so far; those who learn more of it write it here."""

    caller: str = ""
    """The fingerprint of the certificate, known or not; empty without one that can be read."""
    is_authenticated: bool = False
    reason: RefusalReason | None = None
    """Why the caller was refused."""
    chain: str = NO_SYSTEM
    errors: int = 1
    """How many errors the answer lists, if it refuses the call."""
    is_recorded: bool = False
    """Whether the transaction that did the work has recorded it."""


ServicesT = TypeVar("ServicesT")


@dataclass(slots=True)
class Decoded(Generic[ServicesT]):
    """One request, decoded and checked against its contract.

    `parameters` are those of path and query, `body` is the decoded body; a `base64Data` in it that is a key of
    `lifted` stands for that content. What is wrong with any of them stands in `violations`; a handler asks the domain
    for what else is wrong, and raises both together. `systems` are those that the caller may touch.
    """

    operation_id: str
    request_id: str
    trace_parent: str | None
    services: ServicesT
    parameters: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    lifted: dict[str, Content] = field(default_factory=dict)
    is_form: bool = False
    violations: list[Violation] = field(default_factory=list)
    log: dict[str, Any] = field(default_factory=dict)
    systems: frozenset[str] = frozenset()
    call: Call = field(default_factory=Call)

    def is_clean(self, name: str) -> bool:
        """Whether the contract has nothing against this property of the body, nor against anything within it."""
        if not isinstance(self.body, dict):
            return False
        inner = (f"{name}.", f"{name}[")
        return not any(fault.field == name or fault.field.startswith(inner) for fault in self.violations)

    def raise_violations(self) -> None:
        """Raises `Invalid` with all that was found, if anything was."""
        if self.violations:
            raise Invalid(self.violations)


SERVICES = "budkavle.services"
"""Where the services stand in an ASGI scope, for contracts whose calls bring their own."""

Handler = Callable[[Decoded[Any]], Awaitable[Response]]
