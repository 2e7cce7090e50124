"""Web messages: what one is, and the rules that the published contract cannot say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import Violation

FLOW_INSTANCE_ID = "flowInstanceId"

MAX_MESSAGE_BYTES = 16_777_215
"""Bytes of UTF-8: the size of Open-E's MEDIUMTEXT column."""


class OepInstance(StrEnum):
    """Which of the two Open-E installations a case lives in."""

    EXTERNAL = "external"
    INTERNAL = "internal"


class State(StrEnum):
    """How far a message has come. Callers see only `stored` and `published` ones."""

    SENDING = "sending"
    UNKNOWN = "unknown"
    PUBLISHED = "published"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class ExternalReference:
    """What a message is about, in the words of another system."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. `data` is None where only the description was read."""

    id: str
    file_name: str
    mime_type: str
    size: int
    sha256: str
    data: bytes | bytearray | None = None


@dataclass(frozen=True, slots=True)
class WebMessage:
    """A message to a party, about something, with files. `created` is None until callers may read it."""

    id: str
    message: str
    external_references: tuple[ExternalReference, ...]
    party_id: str | None = None
    sender_user_id: str | None = None
    oep_instance: OepInstance = OepInstance.EXTERNAL
    attachments: tuple[Attachment, ...] = ()
    created: datetime | None = None

    @property
    def flow_instance_id(self) -> int | None:
        """The case in Open-E that the message belongs to, if it names one."""
        for reference in self.external_references:
            if reference.key == FLOW_INSTANCE_ID:
                return int(reference.value)
        return None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A message whose publication is not known to have ended: what an operator needs to look into it."""

    id: str
    state: State
    oep_instance: OepInstance
    flow_instance_id: int
    sent: datetime


def normalize_references(references: Sequence[ExternalReference]) -> tuple[ExternalReference, ...]:
    """The references as they are stored: `flowInstanceId` in its one spelling, then each pair once, in order."""
    spelled = (
        ExternalReference(FLOW_INSTANCE_ID, reference.value)
        if reference.key.lower() == FLOW_INSTANCE_ID.lower()
        else reference
        for reference in references
    )
    return tuple(dict.fromkeys(spelled))


def violations_of_message(message: str) -> list[Violation]:
    """What is wrong with a text that fits the contract: its size in bytes, which a schema cannot count."""
    if len(message) * 4 > MAX_MESSAGE_BYTES and len(message.encode()) > MAX_MESSAGE_BYTES:
        return [Violation("message", f"must be at most {MAX_MESSAGE_BYTES} bytes of UTF-8")]
    return []


def violations_of_references(references: Sequence[ExternalReference]) -> list[Violation]:
    """What is wrong with references that each fit the contract: more than one case."""
    cases = [reference for reference in normalize_references(references) if reference.key == FLOW_INSTANCE_ID]
    if len(cases) > 1:
        return [Violation("externalReferences", f"must not name more than one '{FLOW_INSTANCE_ID}'")]
    return []
