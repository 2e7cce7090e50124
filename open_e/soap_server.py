"""The SOAP side of the mock Open-E: reads requests and writes answers and faults, byte for byte as Open-E does.

Source: the observed behaviour of JAX-WS RI 2.3 with the callback's beans. Texts of XML reading errors are ours,
since they differ between parsers there too.
"""

import binascii
import hashlib
import re
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree
from lxml.etree import _Element as Element

from open_e.envelopes import CALLBACK_NAMESPACE, SOAP_NAMESPACE

_ENVELOPE = f"{{{SOAP_NAMESPACE}}}Envelope"
_HEADER = f"{{{SOAP_NAMESPACE}}}Header"
_BODY = f"{{{SOAP_NAMESPACE}}}Body"
_MUST_UNDERSTAND = f"{{{SOAP_NAMESPACE}}}mustUnderstand"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ENCODED_DATA = f"{{{CALLBACK_NAMESPACE}}}encodedData"
_BYTES_PER_BITE = 65_536


class SoapFault(Exception):
    """An answer that says no: `code` without prefix, `text`, and the name of the declared fault in its detail."""

    def __init__(self, text: str, *, code: str = "Server", detail: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.detail = detail


class Content(NamedTuple):
    """What is kept of the data of a file: its length in bytes and its SHA-256 in lower-case hex."""

    size: int
    sha256: str


class Operation(NamedTuple):
    """The first element in a SOAP body.

    `contents` has what each encodedData element held, None for what is not base64; the text itself is dropped while
    reading, so that a request of ten large files does not stand in memory twice.
    """

    element: Element
    contents: dict[Element, Content | None]

    @property
    def name(self) -> str:
        """The qualified name as Open-E's faults spell it: `{namespace}name`."""
        name = etree.QName(self.element)
        return f"{{{name.namespace or ''}}}{name.localname}"


def read_request(body: bytes | bytearray, charset: str | None) -> Operation:
    """The operation that a request asks for. `charset` is that of its Content-Type and wins over the XML's own.

    Raises SoapFault as Open-E does: Client for what is no envelope or has an empty body, VersionMismatch for
    SOAP 1.2, MustUnderstand for a header that says so, Server for broken XML inside the body and for any document
    type declaration.
    """
    try:
        parser = etree.XMLPullParser(
            ("start", "end"),
            encoding=charset,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            # Files of more than 10 MB in one text node are what this is for; declared entities are refused below.
            huge_tree=True,
            remove_comments=True,
            remove_pis=True,
        )
    except LookupError as error:
        raise _not_an_envelope(f"unsupported encoding {charset}") from error
    contents: dict[Element, Content | None] = {}
    in_body = False
    try:
        for start in range(0, len(body), _BYTES_PER_BITE):
            parser.feed(bytes(body[start : start + _BYTES_PER_BITE]))
            in_body = _take_contents(parser, contents) or in_body
        root = parser.close()
    except etree.XMLSyntaxError as error:
        if _take_contents(parser, contents) or in_body:
            raise SoapFault(f"XML reader error: {error.msg}") from error
        raise _not_an_envelope(str(error.msg)) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise SoapFault("XML reader error: Undeclared general entity")
    return Operation(_first_in_body(root), contents)


def _take_contents(parser: "etree.XMLPullParser", contents: dict[Element, Content | None]) -> bool:
    """Moves the data of files that are complete out of the tree; says whether the SOAP body has begun."""
    body_begun = False
    for event, element in parser.read_events():
        if not isinstance(element, Element):
            continue
        if event == "start":
            body_begun = body_begun or element.tag == _BODY
        elif element.tag == _ENCODED_DATA:
            contents[element] = _content(element)
            element.text = None
    return body_begun


def _content(element: Element) -> Content | None:
    try:
        text = (text_of(element) or "").encode("ascii")
        data = binascii.a2b_base64(text.translate(None, b" \t\r\n"), strict_mode=True)
    except ValueError:
        return None
    return Content(len(data), hashlib.sha256(data).hexdigest())


def _first_in_body(root: Element) -> Element:
    if root.tag != _ENVELOPE:
        if etree.QName(root).localname != "Envelope":
            raise _not_an_envelope(f"unexpected root element {etree.QName(root).localname}")
        raise SoapFault(
            f"Couldn't create SOAP message. Expecting Envelope in namespace {SOAP_NAMESPACE}, "
            f"but got {etree.QName(root).namespace or ''}",
            code="VersionMismatch",
        )
    for header in root.iterfind(f"{_HEADER}/*"):
        if header.get(_MUST_UNDERSTAND) in {"1", "true"}:
            raise SoapFault("One or more mandatory SOAP header blocks not understood", code="MustUnderstand")
    if root.find(_BODY) is None:
        raise _not_an_envelope("an envelope without a body")
    operation = root.find(f"{_BODY}/*")
    if operation is None:
        raise SoapFault("Cannot find dispatch method for {}", code="Client")
    return operation


def _not_an_envelope(reason: str) -> SoapFault:
    return SoapFault(f"Couldn't create SOAP message due to exception: {reason}", code="Client")


def child(parent: Element | None, name: str) -> Element | None:
    """The last child of that name in the callback's namespace, None when it is nil: as JAXB fills one property."""
    if parent is None:
        return None
    found = parent.findall(f"{{{CALLBACK_NAMESPACE}}}{name}")
    return found[-1] if found and found[-1].get(_NIL) not in {"1", "true"} else None


def text_of(element: Element | None) -> str | None:
    """The text of an element as JAXB reads it: what stands before a child of the element is lost."""
    if element is None:
        return None
    return (element[-1].tail if len(element) else element.text) or ""


def int_of(element: Element | None) -> int | None:
    """A number as JAXB RI reads an xs:int: wrapped to 32 bits without a word, None for what is no number."""
    digits = re.sub(r"[ \t\r\n]+", "", text_of(element) or "")
    if re.fullmatch(r"[+-]?[0-9]+", digits) is None:
        return None
    # 10 to the 32nd is a multiple of 2 to the 32nd: what stands before the last 32 digits is lost in wrapping.
    number = int(digits.lstrip("+-")[-32:]) * (-1 if digits.startswith("-") else 1) & 0xFFFFFFFF
    return number - 2**32 if number >= 2**31 else number


def write_message_id(message_id: int, charset: str | None) -> bytes:
    """The answer to addMessage."""
    return _enveloped(
        f'<addMessageResponse xmlns="{CALLBACK_NAMESPACE}"><messageID>{message_id}</messageID></addMessageResponse>',
        charset,
    )


def write_fault(fault: SoapFault, charset: str | None) -> bytes:
    """A fault, with the unused namespace that Open-E's own have. An undeclared one has no detail."""
    detail = f'<detail><{fault.detail} xmlns="{CALLBACK_NAMESPACE}"/></detail>' if fault.detail else ""
    return _enveloped(
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope">'
        f"<faultcode>S:{fault.code}</faultcode><faultstring>{escape(fault.text)}</faultstring>{detail}</S:Fault>",
        charset,
    )


def content_type(charset: str | None) -> str:
    """The Content-Type of an answer: the request's charset comes back, with the blank that Open-E puts there."""
    return "text/xml; charset=utf-8" if _is_utf8(charset) else f"text/xml ;charset={charset}"


def _is_utf8(charset: str | None) -> bool:
    return charset is None or charset.lower() in {"utf-8", "utf8"}


def _enveloped(content: str, charset: str | None) -> bytes:
    encoding = "UTF-8" if charset is None or _is_utf8(charset) else charset
    markup = (
        f"<?xml version='1.0' encoding='{encoding}'?>"
        f'<S:Envelope xmlns:S="{SOAP_NAMESPACE}"><S:Body>{content}</S:Body></S:Envelope>'
    )
    try:
        return markup.encode(encoding, "xmlcharrefreplace")
    except LookupError:
        # The request was refused for this very charset; Open-E has no answer in it either.
        return _enveloped(content, None)
