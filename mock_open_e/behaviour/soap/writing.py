"""Build SOAP responses that equal those of Open-E byte for byte, and determine character sets.

Source: the observed behaviour of JAX-WS RI 2.3 with the callback's beans.
"""

import codecs
import re
from xml.sax.saxutils import escape

from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE, SOAP_NAMESPACE
from mock_open_e.behaviour.soap_fault import SoapFault

_LABEL = re.compile(r"[A-Za-z0-9._:-]{1,40}")

_CODECS = re.compile(r"ascii|utf-8|iso8859-[0-9]+|cp125[0-8]|utf-16(-[lb]e)?|utf-32(-[lb]e)?")
"""Python's names of the accepted character sets: those of a current Java, and no other encodings."""


def find_codec(charset: str) -> str | None:
    """Return Python's name of a character set, or None if it is unknown."""
    if _LABEL.fullmatch(charset) is None:
        return None
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return None
    return name if _CODECS.fullmatch(name) else None


def write_reply(element: str, content: str, charset: str | None) -> bytes:
    """Return the response of an operation: its response element with that content."""
    opened = f'<{element} xmlns="{CALLBACK_NAMESPACE}"'
    return _wrap_in_envelope(f"{opened}>{content}</{element}>" if content else f"{opened}/>", charset)


def write_fault(fault: SoapFault, charset: str | None) -> bytes:
    """Return a fault, with the unused namespace that Open-E's faults have. An undeclared fault has no detail."""
    detail = f'<detail><{fault.detail} xmlns="{CALLBACK_NAMESPACE}"/></detail>' if fault.detail else ""
    return _wrap_in_envelope(
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope">'
        f"<faultcode>S:{fault.code}</faultcode><faultstring>{escape_xml_text(fault.text)}</faultstring>{detail}</S:Fault>",
        charset,
    )


def escape_xml_text(text: str) -> str:
    """Return a text for an element. A CR is kept, and characters that XML cannot contain become question marks."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text), {"\r": "&#13;"})


def build_content_type(charset: str | None) -> str:
    """Return the Content-Type of a response: the request's charset, with the space that Open-E inserts."""
    return "text/xml; charset=utf-8" if _is_utf8(charset) else f"text/xml ;charset={charset}"


def _is_utf8(charset: str | None) -> bool:
    # A request with an unknown charset is rejected; Open-E cannot encode a response in it either.
    return charset is None or find_codec(charset) in {None, "utf-8"}


def _wrap_in_envelope(content: str, charset: str | None) -> bytes:
    encoding = "UTF-8" if charset is None or _is_utf8(charset) else charset
    markup = (
        f"<?xml version='1.0' encoding='{encoding}'?>"
        f'<S:Envelope xmlns:S="{SOAP_NAMESPACE}"><S:Body>{content}</S:Body></S:Envelope>'
    )
    return markup.encode(encoding, "xmlcharrefreplace")
