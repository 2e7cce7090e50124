"""Messages on cases as Open-E shows them, also those of citizens. Nothing of them is stored."""

from dataclasses import dataclass

CASE_REQUIRED = "Flow instance id is required"


@dataclass(frozen=True, slots=True)
class ShownAttachment:
    """A file of a message in Open-E, without its content."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Poster:
    """The user who posted a message, as far as Open-E shows it. Texts are empty if they are not shown."""

    user_id: str
    username: str
    first_name: str
    last_name: str
    email: str


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message on a case. `added` is `2024-03-25 13:16` in the time zone of Open-E, or empty."""

    id: int
    is_of_staff: bool
    text: str
    added: str
    flow_instance_id: str
    poster: Poster | None
    attachments: tuple[ShownAttachment, ...]


@dataclass(frozen=True, slots=True)
class ShownFile:
    """The content of a file in Open-E."""

    media_type: str
    data: bytes
