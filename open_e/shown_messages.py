"""Build messages from the elements of the messageapi. Pure functions."""

import re

from domain.case_messages import Poster, ShownAttachment, ShownMessage

Values = dict[str, str]
"""Texts by the place of their element in a message or a file, such as `poster/username`."""

_DIGITS = re.compile(r"\s*([0-9]{1,18})\s*", re.ASCII)


def is_of_staff(values: Values) -> bool:
    """Return whether a message was posted by the staff, and not by an owner of the case."""
    return values.get("postedByManager", "true").strip().lower() == "true"


def build_shown_message(values: Values, files: list[Values]) -> ShownMessage:
    """Return a message as Open-E shows it. A number that cannot be read is 0."""
    names = ("userID", "username", "firstname", "lastname", "email")
    poster = [values.get(f"poster/{name}", "") for name in names]
    return ShownMessage(
        id=_to_number(values.get("messageID", "")),
        is_of_staff=is_of_staff(values),
        text=values.get("message", ""),
        added=values.get("added", "").strip(),
        flow_instance_id=values.get("flowInstanceID", "").strip(),
        poster=Poster(*poster) if any(poster) else None,
        attachments=tuple(ShownAttachment(_to_number(file["attachmentID"]), file["filename"]) for file in files),
    )


def _to_number(text: str) -> int:
    match = _DIGITS.fullmatch(text)
    return int(match[1]) if match else 0
