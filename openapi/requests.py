"""The input of handlers: a request, decoded and validated against its contract."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.responses import Response

from domain.attachments import Content
from domain.audit import NO_SYSTEM
from domain.callers import ANONYMOUS, Caller
from domain.errors import Invalid, RefusalReason, Violation

CALLER = "budkavle.caller"
"""The key of the authenticated caller in an ASGI scope."""

CALL = "budkavle.call"
"""The key of the call in an ASGI scope, for audited operations."""


@dataclass(slots=True)
class AuditedCall:
    """Facts about a call for the audit log. Each layer adds its own."""

    claimed_caller: str = ""
    """The name of the caller that a valid certificate claims, registered or not; empty without one."""
    reason: RefusalReason | None = None
    """The reason for rejecting the caller."""
    chain: str = NO_SYSTEM
    errors: int = 1
    """The number of errors in the response if the call is rejected."""
    is_recorded: bool = False
    """Whether the transaction of the work has already recorded the call."""


ServicesT = TypeVar("ServicesT")


@dataclass(slots=True)
class Decoded(Generic[ServicesT]):
    """A request, decoded and validated against its contract.

    `parameters` are those of path and query. `body` is the decoded body; a `base64Data` in it that is a key of
    `contents` represents that content. `violations` has the faults of both. A handler adds the violations of domain
    rules and raises all of them together.
    """

    operation_id: str
    request_id: str
    trace_parent: str | None
    services: ServicesT
    parameters: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    contents: dict[str, Content] = field(default_factory=dict)
    is_form: bool = False
    violations: list[Violation] = field(default_factory=list)
    log: dict[str, Any] = field(default_factory=dict)
    caller: Caller = ANONYMOUS
    call: AuditedCall = field(default_factory=AuditedCall)

    def is_clean(self, name: str) -> bool:
        """Return whether the contract has no violation of this property of the body, or within it."""
        if not isinstance(self.body, dict):
            return False
        inner = (f"{name}.", f"{name}[")
        return not any(fault.field == name or fault.field.startswith(inner) for fault in self.violations)

    def raise_violations(self) -> None:
        """Raise `Invalid` if there are violations."""
        if self.violations:
            raise Invalid(self.violations)


SERVICES = "budkavle.services"
"""The key of the services in an ASGI scope, for contracts that select the services by request."""

Handler = Callable[[Decoded[Any]], Awaitable[Response]]
