"""addMessage, addInternalMessage and addMessageAsOwner: the checks in Open-E's order, with Open-E's texts.

Source: StandardIntegrationCallback, which checks the case, then access, sender, message, files and read receipts.
"""

import re
from datetime import date, time
from typing import Literal

from lxml.etree import _Element as Element

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.request import Change, Reply, Request, find_case, find_family, find_sender
from mock_open_e.behaviour.soap.reading import find_child, read_text
from mock_open_e.behaviour.state import Content, File, Kind, Message

_JAVA_BLANKS = "".join(map(chr, range(0x21)))
"""The characters that Java's String.trim() removes."""

_NO_CONTENT = Content(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"")

_LONGEST_TEXT = 2**24 - 1
LONGEST_NAME = 255
_LARGEST_SIZE = 2**32 - 1

_DATE_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(T(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)

_FRAGMENT = 50
"""Characters of a message in the history of a case."""


def add_message(request: Request) -> Change:
    """Add a message from staff to the citizen."""
    return _add(request, "manager")


def add_message_as_owner(request: Request) -> Change:
    """Add a message in the name of the citizen."""
    return _add(request, "owner")


def add_internal_message(request: Request) -> Change:
    """Add a message between staff: it creates no event and is invisible to the citizen."""
    return _add(request, "internal")


def _add(request: Request, kind: Kind) -> Change:
    case = find_case(request)
    user_id, poster = find_sender(request)
    message = find_child(request.element, "message")
    if message is None:
        raise refusals.message_missing()
    added = (read_text(find_child(message, "added")) or "").strip(" \t\r\n")
    if not is_date_time(added):
        raise refusals.added_missing(added)
    text = read_text(find_child(message, "message")) or ""
    if is_empty(text):
        raise refusals.text_empty()
    files = [_read_file(attachment, request) for attachment in message.iterfind(f"{{{CALLBACK_NAMESPACE}}}attachments")]
    read_receipt = (read_text(find_child(message, "readReceiptEnabled")) or "").strip(" \t\r\n") in {"true", "1"}
    if read_receipt and kind == "internal":
        raise refusals.read_receipts_on_internal_message()
    family = find_family(request, case)
    if read_receipt and not family.read_receipts:
        raise refusals.read_receipts_not_enabled(family.name)
    _check_columns(text, files)

    def store() -> Reply:
        numbers: Literal["internal", "message"] = "internal" if kind == "internal" else "message"
        stored = request.state.add(
            Message(
                instance=request.state.instance,
                message_id=request.state.take_next_number(numbers),
                case=case.number,
                kind=kind,
                text=text,
                added=added,
                stored=request.now,
                user_id=user_id,
                poster=poster,
                files=tuple(
                    File(request.state.take_next_number("attachment"), name, size, content, request.server_time)
                    for name, size, content in files
                ),
                read_receipt=read_receipt,
                citizen_id=read_text(find_child(find_child(request.element, "principal"), "citizenID")),
                origin=request.operation.local_name,
            )
        )
        if kind != "internal":
            fragment = "" if read_receipt else shorten_for_history(text)
            request.state.add_event(case.number, "message", added, fragment, user_id)
        return Reply(f"<messageID>{stored.message_id}</messageID>", stored.message_id)

    return store


def _read_file(attachment: Element, request: Request) -> tuple[str, int, Content]:
    filename = read_text(find_child(attachment, "filename"))
    if filename is None or is_empty(filename):
        raise refusals.filename_empty()
    encoded_data = find_child(attachment, "encodedData")
    content = None if encoded_data is None else request.operation.contents.get(encoded_data, _NO_CONTENT)
    if content is None:
        raise refusals.data_missing(is_there=encoded_data is not None)
    declared = read_text(find_child(attachment, "size"))
    digits = (declared or "").strip(" \t\r\n")
    if re.fullmatch(r"\+?[0-9]{1,19}", digits) is None or not 0 < int(digits) < 2**63:
        raise refusals.size_wrong(declared)
    return filename, int(digits), content


def _check_columns(text: str, files: list[tuple[str, int, Content]]) -> None:
    """Raise the fault for values that exceed the columns of the database, which Open-E detects last."""
    if len(text) > _LONGEST_TEXT // 4 and len(text.encode()) > _LONGEST_TEXT:
        raise refusals.too_long("message")
    for filename, size, _ in files:
        if len(filename) > LONGEST_NAME:
            raise refusals.too_long("filename")
        if size > _LARGEST_SIZE:
            raise refusals.too_long("size")


def shorten_for_history(text: str) -> str:
    """Return the beginning of a message as it appears in the history of its case."""
    flat = re.sub(r"[\r\n\t]", " ", text)
    return flat if len(flat) <= _FRAGMENT else f"{flat[: _FRAGMENT - 1]}..."


def is_empty(text: str) -> bool:
    """Return whether Open-E treats a text as empty."""
    return not text.strip(_JAVA_BLANKS)


def is_date_time(text: str) -> bool:
    """Return whether Open-E can parse a time: an xs:dateTime or a date, with or without a time zone."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return False
    try:
        date.fromisoformat(match["date"])
        # XML Schema allows 24:00:00 for the end of a day; Python's time does not.
        time.fromisoformat((match["time"] or "00:00:00").replace("24:00:00", "00:00:00"))
    except ValueError:
        return False
    return True
