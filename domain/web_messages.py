"""Web messages: dataclasses, and the rules that an OpenAPI schema cannot express."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.errors import Violation

FLOW_INSTANCE_ID = "flowInstanceId"

MAX_MESSAGE_BYTES = 16_777_215
"""Maximum bytes of UTF-8: the size of Open-E's MEDIUMTEXT column."""


class OepInstance(StrEnum):
    """The Open-E installation that a case belongs to."""

    EXTERNAL = "external"
    INTERNAL = "internal"


OpenEName = str
"""The name of an Open-E: an `OepInstance`, or `2281/external` for that of a municipality that has its own."""


class MessageState(StrEnum):
    """The state of publication. Callers see only `stored` and `published` messages."""

    SENDING = "sending"
    UNKNOWN = "unknown"
    PUBLISHED = "published"
    STORED = "stored"


UNSETTLED_STATES = (MessageState.SENDING, MessageState.UNKNOWN)
"""States of messages that only operators see."""

READABLE_STATES = (MessageState.PUBLISHED, MessageState.STORED)
"""States of messages that callers see. Each state is either unsettled or readable."""


@dataclass(frozen=True, slots=True)
class ExternalReference:
    """The identifier of the subject of a message in another system."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. `data` is None if only the metadata was loaded."""

    id: str
    file_name: str
    mime_type: str
    size: int
    sha256: str
    data: bytes | bytearray | None = None


@dataclass(frozen=True, slots=True)
class WebMessage:
    """A message to a party, with references and files. `created` is None until callers may read the message.

    `oep_instance_as_sent` is the caller's spelling of `oep_instance`, None for the usual one, and `own_open_e` the name
    of the Open-E of the case if its municipality has its own. A message `is_from_owner` if it is published as one of
    the owner of the case, instead of one of the staff. The `sender_party_id` of such an owner and the `citizen_id`, a
    personal number by which Open-E knows the person, are known only while the message is created, and never stored.
    """

    id: str
    message: str
    external_references: tuple[ExternalReference, ...]
    party_id: str | None = None
    sender_user_id: str | None = None
    oep_instance: OepInstance = OepInstance.EXTERNAL
    attachments: tuple[Attachment, ...] = ()
    created: datetime | None = None
    municipality_id: str | None = None
    oep_instance_as_sent: str | None = None
    own_open_e: OpenEName | None = None
    is_from_owner: bool = False
    sender_party_id: str | None = None
    citizen_id: str | None = field(default=None, repr=False)

    @property
    def open_e(self) -> OpenEName:
        """The name of the Open-E that has the case."""
        return self.own_open_e or self.oep_instance

    @property
    def flow_instance_id(self) -> int | None:
        """The case in Open-E that the message belongs to, or None."""
        for reference in self.external_references:
            if reference.key == FLOW_INSTANCE_ID:
                return int(reference.value)
        return None


@dataclass(frozen=True, slots=True)
class UnsettledMessage:
    """A message whose publication has no known outcome, with the fields that operators need to investigate it."""

    id: str
    state: MessageState
    oep_instance: OepInstance
    flow_instance_id: int
    sent: datetime


def normalise_references(references: Sequence[ExternalReference]) -> tuple[ExternalReference, ...]:
    """Return the references in canonical form: `flowInstanceId` in its only spelling, no duplicate pairs, in order."""
    spelled = (
        ExternalReference(FLOW_INSTANCE_ID, reference.value)
        if reference.key.lower() == FLOW_INSTANCE_ID.lower()
        else reference
        for reference in references
    )
    return tuple(dict.fromkeys(spelled))


def normalise_case_numbers(references: Sequence[ExternalReference]) -> tuple[ExternalReference, ...]:
    """Return references in canonical form, as `normalise_references` does, and the numbers of cases without zeros."""
    numbered = (
        ExternalReference(reference.key, reference.value.lstrip("0"))
        if reference.key.lower() == FLOW_INSTANCE_ID.lower()
        else reference
        for reference in references
    )
    return normalise_references(list(numbered))


def validate_message(message: str) -> list[Violation]:
    """Return the violations of a message text that a schema cannot detect: its size in bytes."""
    if len(message) * 4 > MAX_MESSAGE_BYTES and len(message.encode()) > MAX_MESSAGE_BYTES:
        return [Violation("message", f"must be at most {MAX_MESSAGE_BYTES} bytes of UTF-8")]
    return []


def validate_references(references: Sequence[ExternalReference]) -> list[Violation]:
    """Return the violations of references that a schema cannot detect: more than one case."""
    if len(references) <= 1:
        return []
    cases = [reference for reference in normalise_references(references) if reference.key == FLOW_INSTANCE_ID]
    if len(cases) > 1:
        return [Violation("externalReferences", f"must not name more than one '{FLOW_INSTANCE_ID}'")]
    return []
