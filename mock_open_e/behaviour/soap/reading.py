"""Parse requests as JAX-WS RI 2.3 with JAXB does, with limits on their cost.

The texts of XML parsing errors are ours, because they also differ between the parsers of Java.
"""

import binascii
import codecs
import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote

from lxml import etree
from lxml.etree import _Element as Element

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE, SOAP_NAMESPACE
from mock_open_e.behaviour.soap.writing import find_codec
from mock_open_e.behaviour.soap_fault import SoapFault
from mock_open_e.behaviour.state import Content

_ENVELOPE = f"{{{SOAP_NAMESPACE}}}Envelope"
_HEADER = f"{{{SOAP_NAMESPACE}}}Header"
_BODY = f"{{{SOAP_NAMESPACE}}}Body"
_MUST_UNDERSTAND = f"{{{SOAP_NAMESPACE}}}mustUnderstand"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ENCODED_DATA = f"{{{CALLBACK_NAMESPACE}}}encodedData"
_INCLUDE = "{http://www.w3.org/2004/08/xop/include}Include"
_BYTES_PER_CHUNK = 65_536

_MAX_ELEMENTS = 200_000
_MAX_DEPTH = 500
_LONGEST_REASON = 300

_BEFORE_THE_ROOT = re.compile(rb"[\s\x00]+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Operation(NamedTuple):
    """The first element in a SOAP body.

    `contents` has the content of each encodedData element, None for invalid base64. The text itself is dropped during
    parsing, so that a request with ten large files is not in memory twice.
    """

    element: Element
    contents: dict[Element, Content | None]

    @property
    def name(self) -> str:
        """The qualified name in the format of Open-E's faults: `{namespace}name`."""
        name = etree.QName(self.element)
        return f"{{{name.namespace or ''}}}{name.localname}"

    @property
    def local_name(self) -> str:
        """The name without its namespace."""
        return etree.QName(self.element).localname


class _Reader:
    """Parses one request incrementally, and removes the data of its files from the tree as it arrives."""

    def __init__(self, parts: dict[str, bytes], keep_bytes: int) -> None:
        self.contents: dict[Element, Content | None] = {}
        self.in_body = False
        self._parts = parts
        self._keep_bytes = keep_bytes
        self._elements = 0
        self._depth = 0

    def process_elements(self, parser: "etree.XMLPullParser") -> None:
        """Process the elements that were parsed since the previous call."""
        for event, element in parser.read_events():
            if not isinstance(element, Element):
                continue
            if event == "start":
                self.in_body = self.in_body or element.tag == _BODY
                self._elements += 1
                self._depth += 1
                if self._elements > _MAX_ELEMENTS or self._depth > _MAX_DEPTH:
                    raise _build_reader_fault(
                        f"more than {_MAX_ELEMENTS} elements, or more than {_MAX_DEPTH} nested elements"
                    )
                continue
            self._depth -= 1
            if element.tag == _ENCODED_DATA:
                self.contents[element] = self._read_content(element)
                element.text = None

    def _read_content(self, element: Element) -> Content | None:
        include = element.find(_INCLUDE)
        if include is not None:
            data = self._parts.get(unquote((include.get("href") or "").removeprefix("cid:")))
        else:
            data = _decode_base64(read_text(element) or "")
        if data is None:
            return None
        is_kept = len(data) <= self._keep_bytes
        self._keep_bytes -= len(data) if is_kept else 0
        return Content(len(data), hashlib.sha256(data).hexdigest(), data if is_kept else None)


def read_request(
    body: bytes | bytearray, charset: str | None, *, parts: dict[str, bytes] | None = None, keep_bytes: int = 0
) -> Operation:
    """Return the operation of a request. `charset` is that of its Content-Type and overrides the XML declaration.

    `parts` are the other parts of an MTOM request by their ids. At most `keep_bytes` of the data of files are stored.
    Raises SoapFault as Open-E does: Client for a missing envelope or an empty body, VersionMismatch for SOAP 1.2,
    MustUnderstand for a header that demands it, Server for malformed XML inside the body and for any document type
    declaration.
    """
    encoding = charset or _detect_encoding(body)
    codec = find_codec(encoding)
    if codec is None:
        raise _build_envelope_fault(f"unsupported encoding {encoding}")
    if codec.startswith("utf-") and codec != "utf-8":
        # The prolog is checked before parsing, which requires one byte per ASCII character.
        try:
            body, codec = body.decode(codec).encode(), "utf-8"
        except UnicodeDecodeError as error:
            raise _build_envelope_fault(f"not {encoding}") from error
    if _has_document_type(body):
        # Every parser expands entities in attributes, so no parser must see their declarations.
        raise _build_reader_fault(
            "Undeclared general entity", "a document type declaration", "an envelope without DOCTYPE"
        )
    parser = etree.XMLPullParser(
        ("start", "end"),
        encoding=codec,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        # This is needed for files of more than 10 MB in one text node.
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
    )
    reader = _Reader(parts or {}, keep_bytes)
    try:
        for start in range(0, len(body), _BYTES_PER_CHUNK):
            parser.feed(bytes(body[start : start + _BYTES_PER_CHUNK]))
            reader.process_elements(parser)
        root = parser.close()
        reader.process_elements(parser)
    except etree.XMLSyntaxError as error:
        reader.process_elements(parser)
        reason = " ".join((error.msg or "").split())[:_LONGEST_REASON]
        raise (_build_reader_fault(reason) if reader.in_body else _build_envelope_fault(reason)) from error
    return Operation(_find_operation(root), reader.contents)


def _detect_encoding(body: bytes | bytearray) -> str:
    """Return the character set in the XML declaration."""
    head = bytes(body[:400])
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\x00" in head[:4]:
        return "utf-16-be" if head[:1] == b"\x00" else "utf-16-le"
    declared = _DECLARED.match(head)
    return declared[1].decode() if declared else "utf-8"


def _has_document_type(body: bytes | bytearray) -> bool:
    position = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
    while (skipped := _BEFORE_THE_ROOT.match(body, position)) is not None:
        position = skipped.end()
    return body[position : position + 2] == b"<!"


def _decode_base64(text: str) -> bytes | None:
    try:
        return binascii.a2b_base64(text.encode("ascii").translate(None, b" \t\r\n"), strict_mode=True)
    except ValueError:
        return None


def _find_operation(root: Element) -> Element:
    if root.tag != _ENVELOPE:
        if etree.QName(root).localname != "Envelope":
            raise _build_envelope_fault(f"unexpected root element {etree.QName(root).localname}")
        namespace = etree.QName(root).namespace or ""
        raise SoapFault(
            f"Couldn't create SOAP message. Expecting Envelope in namespace {SOAP_NAMESPACE}, but got {namespace}",
            code="VersionMismatch",
            received=f"an Envelope in the namespace {refusals.quote(namespace)}",
            accepted="a SOAP 1.1 envelope",
        )
    for header in root.iterfind(f"{_HEADER}/*"):
        if header.get(_MUST_UNDERSTAND) in {"1", "true"}:
            raise SoapFault(
                "One or more mandatory SOAP header blocks not understood",
                code="MustUnderstand",
                received=f"the header {refusals.quote(header.tag)} with mustUnderstand",
                accepted="no headers, or headers without mustUnderstand",
            )
    if root.find(_BODY) is None:
        raise _build_envelope_fault("an envelope without a body")
    operation = root.find(f"{_BODY}/*")
    if operation is None:
        raise refusals.no_such_operation("{}")
    return operation


def _build_envelope_fault(reason: str) -> SoapFault:
    return SoapFault(
        f"Couldn't create SOAP message due to exception: {reason}",
        code="Client",
        received=f"a body that is not a SOAP envelope: {reason}",
        accepted="a SOAP 1.1 envelope as XML, in the character set of the Content-Type",
    )


def _build_reader_fault(reason: str, received: str = "", accepted: str = "") -> SoapFault:
    return SoapFault(
        f"XML reader error: {reason}",
        received=received or f"XML that cannot be parsed: {reason}",
        accepted=accepted or "well-formed XML: tags closed, < and & escaped, no control characters",
    )


def find_child(parent: Element | None, name: str) -> Element | None:
    """Return the last child with that name in the callback's namespace, None if it is nil, as JAXB does."""
    if parent is None:
        return None
    found = parent.findall(f"{{{CALLBACK_NAMESPACE}}}{name}")
    return found[-1] if found and found[-1].get(_NIL) not in {"1", "true"} else None


def read_text(element: Element | None) -> str | None:
    """Return the text of an element as JAXB reads it: text before a child element is lost."""
    if element is None:
        return None
    return (element[-1].tail if len(element) else element.text) or ""


def parse_int(element: Element | None) -> int | None:
    """Return a number as JAXB RI reads an xs:int: silently wrapped to 32 bits, None for other text."""
    digits = re.sub(r"[ \t\r\n]+", "", read_text(element) or "")
    if re.fullmatch(r"[+-]?[0-9]+", digits) is None:
        return None
    # 10^32 is a multiple of 2^32, so digits before the last 32 have no effect after wrapping.
    number = int(digits.lstrip("+-")[-32:]) * (-1 if digits.startswith("-") else 1) & 0xFFFFFFFF
    return number - 2**32 if number >= 2**31 else number
