"""The SOAP that we send to Open-E's integration callback, and how its answers are read. No network, no state.

Source of names, order and escapes: the schema that Open-E's integration callback serves (SOAP 1.1,
document/literal, everything qualified) and what WebMessageSender 3.2 puts on the wire.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

SOAP_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
CALLBACK_NAMESPACE = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"

_BYTES_PER_CHUNK = 3 * 65_536
"""Bytes of a file that become one chunk: a multiple of three, so that base64 needs no padding in between."""

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    f'<Envelope xmlns="{SOAP_NAMESPACE}" xmlns:ns2="{CALLBACK_NAMESPACE}"><Body><ns2:addMessage>'
)
_TAIL = "</ns2:addMessage></Body></Envelope>"

_MAX_INT = 2**31 - 1


class File(NamedTuple):
    """A file as Open-E takes it. Its size is told from the data."""

    filename: str
    data: bytes | bytearray | memoryview


class Fault(NamedTuple):
    """A SOAP 1.1 fault: its code without prefix, its text, and the local names of the elements in its detail."""

    code: str
    text: str
    details: tuple[str, ...] = ()


Answer = int | Fault | None
"""The messageID, a fault, or None for an answer that cannot be understood."""


class AddMessageEnvelope:
    """The body of one addMessage request, as bytes of UTF-8 that are made while they are sent.

    `len()` is its exact length in bytes. Each iteration starts anew and gives chunks of about 256 KiB; base64 is
    made chunk by chunk, so the data of a file is never copied as a whole.

    `added` must be aware and goes out with milliseconds and its offset. Every kind of line break in `text` goes
    out as CR LF with the CR as a character reference, since XML reading drops a raw CR and Open-E breaks lines
    at CR. Characters outside XML 1.0 are the caller's to refuse.

    Raises ValueError (UnicodeEncodeError among them) for a naive time and for lone surrogates.
    """

    def __init__(
        self, *, flow_instance_id: int, text: str, added: datetime, files: Sequence[File] = (), user_id: str | None
    ) -> None:
        if added.tzinfo is None:
            raise ValueError("the time of a message needs an offset")
        parts: list[bytes | memoryview] = []
        markup = (
            f"{_HEAD}<ns2:flowInstanceID>{flow_instance_id}</ns2:flowInstanceID><ns2:message>"
            f"<ns2:added>{added.isoformat(timespec='milliseconds')}</ns2:added>"
        )
        for file in files:
            data = memoryview(file.data).cast("B")
            parts += [f"{markup}<ns2:attachments><ns2:encodedData>".encode(), data]
            markup = (
                f"</ns2:encodedData><ns2:filename>{_escaped(file.filename)}</ns2:filename>"
                f"<ns2:size>{len(data)}</ns2:size></ns2:attachments>"
            )
        lines = escape(re.sub(r"\r\n?", "\n", text), {"\n": "&#13;\n"})
        markup += f"<ns2:message>{lines}</ns2:message></ns2:message>"
        if user_id is not None:
            markup += f"<ns2:principal><ns2:userID>{_escaped(user_id)}</ns2:userID></ns2:principal>"
        parts.append((markup + _TAIL).encode())
        self._parts = parts
        self._length = sum(
            len(part) if isinstance(part, bytes) else (len(part) + 2) // 3 * 4  # Base64 makes 4 characters of 3 bytes.
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


def _escaped(value: str) -> str:
    """A value that must arrive unchanged: a raw CR would be read as LF."""
    return escape(value, {"\r": "&#13;"})


def read_answer(body: bytes) -> Answer:
    """What Open-E answered: the messageID of an addMessageResponse, a SOAP 1.1 fault, or None for anything else.

    The messageID must be an xs:int. A document type declaration makes an answer not understandable, entities
    are not resolved, and nothing is fetched.
    """
    # A parser may be used by one thread at a time, and making one costs little.
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
        return _fault(content)
    if content.tag == f"{{{CALLBACK_NAMESPACE}}}addMessageResponse":
        return _int(content.findtext(f"{{{CALLBACK_NAMESPACE}}}messageID"))
    return None


def _fault(element: "etree._Element") -> Fault:
    code = (element.findtext("faultcode") or "").strip()
    return Fault(
        code=code.rpartition(":")[2],
        text=(element.findtext("faultstring") or "").strip(),
        details=tuple(etree.QName(entry).localname for entry in element.iterfind("detail/*")),
    )


def _int(text: str | None) -> int | None:
    digits = (text or "").strip(" \t\r\n")
    if re.fullmatch(r"[+-]?[0-9]{1,10}", digits) is None:
        return None
    number = int(digits)
    return number if -_MAX_INT - 1 <= number <= _MAX_INT else None
