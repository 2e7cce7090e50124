"""What a handler is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import Response

from domain.attachments import Content
from domain.audit import NO_SYSTEM
from domain.errors import Invalid, RefusalReason, Violation
from domain.web_messages import OepInstance, WebMessage
from handlers.metrics import QueueWatch
from handlers.publication_outcomes import PublicationOutcomes
from handlers.refusal_tally import RefusalTally
from persistence.database import Database


class OpenE(Protocol):
    """Open-E, as handlers know it."""

    async def add_message(
        self, message: WebMessage, *, added: datetime, request_id: str, trace_parent: str | None
    ) -> int:
        """The id that Open-E gave the message. Errors: `open_e.client`."""

    def slot(self) -> Any:
        """An asynchronous context within which a call has a thread. Raises `BackendUnavailable`."""

    def health(self, instance: OepInstance) -> str:
        """`UP`, `DOWN`, `UNKNOWN` or `NOT_CONFIGURED`, from the last call."""


def _never() -> bool:
    """The process does not stop."""
    return False


def _nobody() -> None:
    """No worker is in this process; those elsewhere look at the queue by themselves."""


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with; the composition root makes it.

    `wake_worker` is to be called when an event was accepted: a worker in this process then looks at the queue at once.
    """

    database: Database
    open_e: OpenE
    outcomes: PublicationOutcomes
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    queue_watch: QueueWatch
    refusals: RefusalTally
    wake_worker: Callable[[], None] = _nobody
    is_draining: Callable[[], bool] = _never


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


Request = Decoded[Services]
"""A request of a contract of the service."""

SERVICES = "budkavle.services"
"""Where the services stand in an ASGI scope, for contracts whose calls bring their own."""

Handler = Callable[[Decoded[Any]], Awaitable[Response]]
