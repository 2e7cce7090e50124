"""Create clients of the web messages of a running service."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from conftest import MESSAGES_KEY, RunningService
from mock_open_e import MockOpenE
from tests.clients.generating import Generated

CREATE, BY_ID, DELETE, FILE = (
    "createWebMessage",
    "getWebMessageById",
    "deleteWebMessageById",
    "getWebMessageAttachment",
)
BY_PARTY, BY_REFERENCE = LISTS = "getWebMessagesByPartyId", "getWebMessagesByExternalReference"
ALL = (CREATE, BY_ID, DELETE, FILE, *LISTS)


@dataclass
class WebMessagesApi:
    generated: Generated
    running: RunningService
    broken: RunningService
    open_e: MockOpenE

    @property
    def models(self) -> Any:
        return self.generated.models

    def client(self, token: str = MESSAGES_KEY, **arguments: Any) -> Any:
        return self.generated.caller(self.running.url, token, **arguments)

    def message(self, case: int | None = None, **changes: Any) -> Any:
        key, value = ("errandNumber", "A-2026-17") if case is None else ("flowInstanceId", str(case))
        reference = self.models.ExternalReferenceRequest(key=key, value=value)
        return self.models.CreateWebMessageRequest(
            **{"message": "This is a message", "external_references": [reference], **changes}
        )

    def arguments(self, operation_id: str) -> dict[str, Any]:
        arguments: dict[str, dict[str, Any]] = {
            CREATE: {"body": self.message()},
            BY_PARTY: {"party_id": uuid4()},
            BY_REFERENCE: {"key": "errandNumber", "value": "A-2026-17"},
            FILE: {"id": uuid4(), "attachment_id": uuid4()},
        }
        return {"client": self.client(), **arguments.get(operation_id, {"id": uuid4()})}

    def post(self, **changes: Any) -> UUID:
        """Post a message, which must be accepted, and return its id."""
        create = self.generated.operation(CREATE)
        response = create.sync_detailed(client=self.client(), body=self.message(**changes))
        assert response.status_code == 201, response.content
        return UUID(response.headers["Location"].rpartition("/")[2])

    def get(self, message_id: UUID) -> Any:
        found = self.generated.operation(BY_ID).sync(client=self.client(), id=message_id)
        assert isinstance(found, self.models.WebMessage)
        return found
