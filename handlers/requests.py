"""What the handlers of the service work with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from domain.web_messages import OepInstance, WebMessage
from handlers.metrics import QueueWatch
from handlers.publication_outcomes import PublicationOutcomes
from handlers.refusal_tally import RefusalTally
from openapi.requests import Decoded
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


Request = Decoded[Services]
"""A request of a contract of the service."""
