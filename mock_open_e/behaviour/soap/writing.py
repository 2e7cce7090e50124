"""What the mock Open-E answers in SOAP, byte for byte as Open-E does, and the character sets that it knows.

Source: the observed behaviour of JAX-WS RI 2.3 with the callback's beans.
"""

import codecs
import re
from xml.sax.saxutils import escape

from mock_open_e.behaviour.soap.namespaces import CALLBACK_NAMESPACE, SOAP_NAMESPACE
from mock_open_e.behaviour.soap_fault import SoapFault

_LABEL = re.compile(r"[A-Za-z0-9._:-]{1,40}")

_CODECS = re.compile(r"ascii|utf-8|iso8859-[0-9]+|cp125[0-8]|utf-16(-[lb]e)?|utf-32(-[lb]e)?")
"""Python's names of the character sets that are read: those that a Java of today has, and no other encodings."""


def codec_of(charset: str) -> str | None:
    """Python's name of a character set, or None for one that is not known."""
    if _LABEL.fullmatch(charset) is None:
        return None
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return None
    return name if _CODECS.fullmatch(name) else None


def write_reply(element: str, content: str, charset: str | None) -> bytes:
    """The answer of an operation: its response element with that content."""
    opened = f'<{element} xmlns="{CALLBACK_NAMESPACE}"'
    return _enveloped(f"{opened}>{content}</{element}>" if content else f"{opened}/>", charset)


def write_fault(fault: SoapFault, charset: str | None) -> bytes:
    """A fault, with the unused namespace that Open-E's own have. An undeclared one has no detail."""
    detail = f'<detail><{fault.detail} xmlns="{CALLBACK_NAMESPACE}"/></detail>' if fault.detail else ""
    return _enveloped(
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope">'
        f"<faultcode>S:{fault.code}</faultcode><faultstring>{xml_text(fault.text)}</faultstring>{detail}</S:Fault>",
        charset,
    )


def xml_text(text: str) -> str:
    """A text as it stands in an element; a CR stays one, and what XML cannot hold becomes a question mark."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text), {"\r": "&#13;"})


def content_type(charset: str | None) -> str:
    """The Content-Type of an answer: the request's charset comes back, with the blank that Open-E puts there."""
    return "text/xml; charset=utf-8" if _is_utf8(charset) else f"text/xml ;charset={charset}"


def _is_utf8(charset: str | None) -> bool:
    # A request with a charset that is not known is refused; Open-E has no answer in it either.
    return charset is None or codec_of(charset) in {None, "utf-8"}


def _enveloped(content: str, charset: str | None) -> bytes:
    encoding = "UTF-8" if charset is None or _is_utf8(charset) else charset
    markup = (
        f"<?xml version='1.0' encoding='{encoding}'?>"
        f'<S:Envelope xmlns:S="{SOAP_NAMESPACE}"><S:Body>{content}</S:Body></S:Envelope>'
    )
    return markup.encode(encoding, "xmlcharrefreplace")
