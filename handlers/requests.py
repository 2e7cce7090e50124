"""The dependencies of the handlers of the service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from domain.case_messages import ShownFile, ShownMessage
from domain.municipalities import ALL_MUNICIPALITIES, ServedMunicipalities
from domain.publications import CallTimes, PublicationOutcome
from domain.tracing import Tracer
from domain.web_messages import OpenEName, WebMessage
from handlers.issuers import AcceptedIssuers
from handlers.metrics import QueueWatch
from handlers.tallies.message_reads import ReadTally
from handlers.tallies.refusals import RefusalTally
from openapi.bodies.budget import BodyBudget
from openapi.requests import Decoded
from persistence.database import Database


class OpenE(Protocol):
    """The interface of Open-E for handlers."""

    async def add_message(
        self, message: WebMessage, *, added: datetime, request_id: str, trace_parent: str | None
    ) -> int:
        """Publish a message and return the id that Open-E assigned. Errors: `open_e.client`."""

    def slot(self, open_e: OpenEName) -> Any:
        """Return an asynchronous context manager that reserves a thread for a call.

        Raises `BackendUnavailable` and `CircuitOpen`.
        """

    def get_health(self, open_e: OpenEName) -> str:
        """Return `UP`, `DOWN`, `PAUSED`, `UNKNOWN` or `NOT_CONFIGURED`, from the last calls."""


class Outcomes(Protocol):
    """Records the outcomes of publications."""

    async def record(self, outcome: PublicationOutcome) -> bool:
        """Store an outcome. Return False if it is not stored within the timeout, or if the message is in doubt instead.

        Storing continues in the background after the timeout.
        """

    def revoke(self, message: WebMessage, sent: datetime) -> None:
        """Delete a message in the background that may have been stored and whose call to Open-E was not made."""


class Settler(Protocol):
    """Settles messages in doubt."""

    async def settle(self, message_id: str) -> None:
        """Ask Open-E now whether a message in doubt is on its case, and record the answer, unless it was just asked.

        Returns after at most the time of one request to Open-E. Raises `StorageFailed`.
        """


class CaseReader(Protocol):
    """Reads the messages of cases from Open-E. Periods are minutes in its time zone. Errors: `open_e.messageapi`."""

    async def list_by_case(
        self, open_e: OpenEName, flow_instance_id: int, begin: str, end: str
    ) -> Sequence[ShownMessage]:
        """Return the messages on a case."""

    async def list_by_family(self, open_e: OpenEName, family_id: int, begin: str, end: str) -> Sequence[ShownMessage]:
        """Return the messages on the cases of a flow family."""

    async def read_file(self, open_e: OpenEName, attachment_id: int) -> ShownFile:
        """Return a file. Raises `NotFound`."""


class Parties(Protocol):
    """Looks up persons in the party service."""

    async def find_legal_id(self, municipality_id: str, party_id: str, request_id: str) -> str:
        """Return the legal id of a person. Errors: `party_service.legal_ids`."""


def return_false() -> bool:
    """Return False: the process is not about to stop."""
    return False


def return_none() -> None:
    """Return None: no issuers of access tokens are configured."""


@dataclass(frozen=True, slots=True)
class Services:
    """The dependencies of handlers, created by the composition root.

    Call `wake_worker` after deliveries were made due, and `wake_worker_for_message` after a web message was stored,
    which may have raised an event. A worker then polls the queue at once.
    """

    database: Database
    open_e: OpenE
    outcomes: Outcomes
    settler: Settler
    call_times: CallTimes
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    queue_watch: QueueWatch
    refusals: RefusalTally
    wake_worker: Callable[[], None]
    wake_worker_for_message: Callable[[], None]
    content_budget: BodyBudget
    """Limits the bytes of large messages and files that are kept in memory while they are sent."""
    key_lifetime: timedelta = timedelta(days=7)
    """How long an idempotency key is kept."""
    read_tally: ReadTally | None = None
    """Counts reads of web messages, if they are audited."""
    is_draining: Callable[[], bool] = return_false
    get_issuers: Callable[[], AcceptedIssuers | None] = return_none
    tracer: Tracer | None = None
    municipalities: ServedMunicipalities = ALL_MUNICIPALITIES
    api_docs: bytes = b""
    """The contract that `/api-docs` returns, if a compatibility API has this path."""
    case_reader: CaseReader | None = None
    """Reads messages from Open-E, if a compatibility API does."""
    parties: Parties | None = None
    """Looks up the senders of messages, if the party service is configured."""


Request = Decoded[Services]
"""A request of a contract of the service."""
