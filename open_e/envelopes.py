"""Build the SOAP requests to Open-E's integration callback and parse the responses. Pure functions without network.

Source of names, order and escapes: the schema that Open-E's integration callback serves (SOAP 1.1, document/literal,
all elements qualified) and the requests of WebMessageSender 3.2.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from domain.web_messages import WebMessage

SOAP_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
CALLBACK_NAMESPACE = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"

_BYTES_PER_CHUNK = 3 * 65_536
"""Bytes of a file per chunk: a multiple of three, so that base64 needs no padding between chunks."""

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    f'<Envelope xmlns="{SOAP_NAMESPACE}" xmlns:ns2="{CALLBACK_NAMESPACE}"><Body>'
)
_TAIL = "</Body></Envelope>"

ADD_MESSAGE, ADD_MESSAGE_AS_OWNER = "addMessage", "addMessageAsOwner"

_XSI = "http://www.w3.org/2001/XMLSchema-instance"

_MAX_INT = 2**31 - 1


class SoapFile(NamedTuple):
    """A file in an addMessage request. The size in the request is computed from the data."""

    filename: str
    data: bytes | bytearray | memoryview


class SoapFault(NamedTuple):
    """A SOAP 1.1 fault: its code without prefix, its text, and the local names of the elements in its detail."""

    code: str
    text: str
    details: tuple[str, ...] = ()


_RESPONSES = frozenset(f"{{{CALLBACK_NAMESPACE}}}{name}Response" for name in (ADD_MESSAGE, ADD_MESSAGE_AS_OWNER))

SoapResponse = int | SoapFault | None
"""The messageID, a fault, or None for a response that cannot be parsed."""


def get_operation(message: WebMessage) -> str:
    """Return the operation that publishes a message."""
    return ADD_MESSAGE_AS_OWNER if message.is_from_owner else ADD_MESSAGE


class AddMessageEnvelope:
    """The body of one addMessage or addMessageAsOwner request as UTF-8, generated while it is sent.

    `len()` is its exact length in bytes. Each iteration starts from the beginning and yields chunks of about 256 KiB.
    Base64 is encoded chunk by chunk, so the data of a file is never copied as a whole.

    `added` must be aware and is sent with milliseconds and its offset. All kinds of line breaks in `text` are sent as
    CR LF with the CR as a character reference, because XML parsers drop a raw CR and Open-E breaks lines at CR. The
    caller must reject characters outside XML 1.0.

    Raises ValueError (including UnicodeEncodeError) for a naive time and for lone surrogates.
    """

    def __init__(
        self,
        *,
        flow_instance_id: int,
        text: str,
        added: datetime,
        files: Sequence[SoapFile] = (),
        user_id: str | None,
        citizen_id: str | None = None,
        operation: str = ADD_MESSAGE,
    ) -> None:
        if added.tzinfo is None:
            raise ValueError("the time of a message needs an offset")
        parts: list[bytes | memoryview] = []
        markup = (
            f"{_HEAD}<ns2:{operation}><ns2:flowInstanceID>{flow_instance_id}</ns2:flowInstanceID><ns2:message>"
            f"<ns2:added>{added.isoformat(timespec='milliseconds')}</ns2:added>"
        )
        for file in files:
            data = memoryview(file.data).cast("B")
            parts += [f"{markup}<ns2:attachments><ns2:encodedData>".encode(), data]
            markup = (
                f"</ns2:encodedData><ns2:filename>{_escape(file.filename)}</ns2:filename>"
                f"<ns2:size>{len(data)}</ns2:size></ns2:attachments>"
            )
        lines = escape(re.sub(r"\r\n?", "\n", text), {"\n": "&#13;\n"})
        markup += f"<ns2:message>{lines}</ns2:message></ns2:message>"
        if user_id is not None or citizen_id is not None:
            # The schema of the owner requires both elements.
            citizen = _write_nillable("citizenID", citizen_id) if operation == ADD_MESSAGE_AS_OWNER else ""
            markup += f"<ns2:principal>{_write_nillable('userID', user_id)}{citizen}</ns2:principal>"
        parts.append(f"{markup}</ns2:{operation}>{_TAIL}".encode())
        self._parts = parts
        self._length = sum(
            # Base64 encodes 3 bytes as 4 characters.
            len(part) if isinstance(part, bytes) else (len(part) + 2) // 3 * 4
            for part in parts
        )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        waiting = bytearray()
        for part in self._parts:
            if isinstance(part, bytes):
                waiting += part
                continue
            for start in range(0, len(part), _BYTES_PER_CHUNK):
                waiting += binascii.b2a_base64(part[start : start + _BYTES_PER_CHUNK], newline=False)
                if len(waiting) >= _BYTES_PER_CHUNK:
                    yield bytes(waiting)
                    waiting.clear()
        yield bytes(waiting)


def _write_nillable(name: str, value: str | None) -> str:
    if value is None:
        return f'<ns2:{name} xmlns:xsi="{_XSI}" xsi:nil="true"/>'
    return f"<ns2:{name}>{_escape(value)}</ns2:{name}>"


def _escape(value: str) -> str:
    """Escape a value that must arrive unchanged: XML parsers convert a raw CR to LF."""
    return escape(value, {"\r": "&#13;"})


def parse_response(body: bytes) -> SoapResponse:
    """Return the messageID of an addMessageResponse, a SOAP 1.1 fault, or None for any other response.

    The messageID must be an xs:int. A response with a document type declaration is not parsed. Entities are not
    resolved, and nothing is fetched.
    """
    # A parser must not be shared between threads, and creating one is cheap.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root.getroottree().docinfo.internalDTD is not None or root.tag != f"{{{SOAP_NAMESPACE}}}Envelope":
        return None
    content = root.find(f"{{{SOAP_NAMESPACE}}}Body/*")
    if content is None:
        return None
    if content.tag == f"{{{SOAP_NAMESPACE}}}Fault":
        return _parse_fault(content)
    if content.tag in _RESPONSES:
        return _parse_int(content.findtext(f"{{{CALLBACK_NAMESPACE}}}messageID"))
    return None


def _parse_fault(element: "etree._Element") -> SoapFault:
    code = (element.findtext("faultcode") or "").strip()
    return SoapFault(
        code=code.rpartition(":")[2],
        text=(element.findtext("faultstring") or "").strip(),
        details=tuple(etree.QName(entry).localname for entry in element.iterfind("detail/*")),
    )


def _parse_int(text: str | None) -> int | None:
    digits = (text or "").strip(" \t\r\n")
    if re.fullmatch(r"[+-]?[0-9]{1,10}", digits) is None:
        return None
    number = int(digits)
    return number if -_MAX_INT - 1 <= number <= _MAX_INT else None
