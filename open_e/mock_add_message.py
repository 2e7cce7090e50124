"""addMessage as the mock Open-E does it: the checks in Open-E's order, each with Open-E's own words.

Source: StandardIntegrationCallback: first the case, then access, then the message, then its files.
"""

import re
from collections.abc import Container
from datetime import date, time
from typing import NamedTuple

from lxml.etree import _Element as Element

from open_e.envelopes import CALLBACK_NAMESPACE
from open_e.soap_server import Content, Operation, SoapFault, child, int_of, text_of

_JAVA_BLANKS = "".join(map(chr, range(0x21)))
"""What Java's String.trim() takes away."""

_NO_CONTENT = Content(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

_DATE_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(T(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)


class StoredFile(NamedTuple):
    """A file of a stored message. `size` is the declared one in bytes, which Open-E stores unchecked."""

    filename: str
    size: int
    sha256: str


class AddMessage(NamedTuple):
    """A message that Open-E would store; `added` as it was sent."""

    case: int
    text: str
    added: str
    user_id: str | None
    files: tuple[StoredFile, ...]


def read_add_message(operation: Operation, cases: Container[int] | None) -> AddMessage:
    """The message of an addMessage request. `cases` are the known cases, None for every positive number.

    Raises SoapFault where Open-E answers one.
    """
    if operation.name != f"{{{CALLBACK_NAMESPACE}}}addMessage":
        raise SoapFault(f"Cannot find dispatch method for {operation.name}", code="Client")
    case = _case(operation.element, cases)
    message = child(operation.element, "message")
    if message is None:
        raise SoapFault("java.lang.NullPointerException: Integration message cannot be null")
    added = (text_of(child(message, "added")) or "").strip(" \t\r\n")
    if not _is_date_time(added):
        raise SoapFault("java.lang.NullPointerException: Added field cannot be null")
    text = text_of(child(message, "message"))
    if _is_empty(text):
        raise SoapFault("java.lang.RuntimeException: Message field cannot be null or empty")
    files = tuple(
        _file(attachment, operation) for attachment in message.iterfind(f"{{{CALLBACK_NAMESPACE}}}attachments")
    )
    user_id = text_of(child(child(operation.element, "principal"), "userID"))
    return AddMessage(case, text or "", added, user_id, files)


def not_found(case: int | None) -> SoapFault:
    """The fault for a case that Open-E does not have; None where the request names none that can be read."""
    return SoapFault(
        f"The requested flow instance with ID {'null' if case is None else case} was not found",
        detail="FlowInstanceNotFoundFault",
    )


def access_denied() -> SoapFault:
    """The fault for a caller without access to the flow family of the case."""
    return SoapFault("This user does not have access to this flow family", detail="AccessDeniedFault")


def _case(add_message: Element, cases: Container[int] | None) -> int:
    flow_instance_id = child(add_message, "flowInstanceID")
    if flow_instance_id is None and child(add_message, "externalID") is not None:
        raise SoapFault("java.lang.RuntimeException: External ID support not implemented")
    case = int_of(flow_instance_id)
    if case is None or case < 1 or (cases is not None and case not in cases):
        raise not_found(case)
    return case


def _file(attachment: Element, operation: Operation) -> StoredFile:
    filename = text_of(child(attachment, "filename"))
    if filename is None or _is_empty(filename):
        raise SoapFault("java.lang.RuntimeException: Filename field cannot be null or empty")
    encoded_data = child(attachment, "encodedData")
    content = None if encoded_data is None else operation.contents.get(encoded_data, _NO_CONTENT)
    if content is None:
        raise SoapFault("java.lang.NullPointerException: Encoded data field cannot be null")
    declared = (text_of(child(attachment, "size")) or "").strip(" \t\r\n")
    if re.fullmatch(r"\+?[0-9]{1,19}", declared) is None or not 0 < int(declared) < 2**63:
        raise SoapFault("java.lang.RuntimeException: Size cannot be < 0")
    return StoredFile(filename, int(declared), content.sha256)


def _is_empty(text: str | None) -> bool:
    return text is None or not text.strip(_JAVA_BLANKS)


def _is_date_time(text: str) -> bool:
    """Whether Open-E can read it: an xs:dateTime, or a date alone, with or without a zone."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return False
    try:
        date.fromisoformat(match["date"])
        # XML Schema has 24:00:00 for the end of a day, which Python's time has not.
        time.fromisoformat((match["time"] or "00:00:00").replace("24:00:00", "00:00:00"))
    except ValueError:
        return False
    return True
