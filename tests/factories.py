"""Build objects for tests, with default values."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

from domain.idempotency_keys import IdempotencyKey
from domain.web_messages import Attachment, ExternalReference, WebMessage

NOW = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
PARTY_ID = "81471222-5798-11e9-ae24-57fa13b361e1"


def build_message_body(**changes: Any) -> dict[str, Any]:
    """Return the JSON of a message without a case; None removes a property."""
    body = {
        "partyId": PARTY_ID,
        "message": "This is a message",
        "externalReferences": [{"key": "errandNumber", "value": "A-2026-17"}],
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def build_case_body(case: int = 1068, **changes: Any) -> dict[str, Any]:
    """Return the JSON of a message to a case."""
    return build_message_body(externalReferences=[{"key": "flowInstanceId", "value": str(case)}], **changes)


def build_attachment(
    data: bytes = b"Hello\n", file_name: str = "hello.txt", mime_type: str = "text/plain"
) -> Attachment:
    return Attachment(
        id=str(uuid.uuid4()),
        file_name=file_name,
        mime_type=mime_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
    )


def build_web_message(**changes: Any) -> WebMessage:
    """Return a message without a case."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "party_id": PARTY_ID,
        "message": "This is a message",
        "external_references": (ExternalReference("errandNumber", "A-2026-17"),),
        "created": NOW,
    }
    return WebMessage(**(values | changes))


def idempotency_key(message: WebMessage, key: str | None = None, caller: str = "caller") -> IdempotencyKey:
    """Return the key of a request that created this message; by default a new one."""
    return IdempotencyKey(caller, "createWebMessage", key or str(uuid.uuid4()), message)
