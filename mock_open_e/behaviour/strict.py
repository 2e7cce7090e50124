"""Find the parts of a request that Open-E silently ignores. Strict mode rejects them; other modes note them."""

import re
import threading
from collections.abc import Iterator

from lxml.etree import QName, XMLSchema
from lxml.etree import _Element as Element

from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operation_table import SHAPES, name_request_element
from mock_open_e.behaviour.refusals import quote
from mock_open_e.behaviour.request import Request
from mock_open_e.behaviour.soap.reading import Operation, find_child, read_text
from mock_open_e.behaviour.soap.schema import build_strict_schema
from mock_open_e.behaviour.soap_fault import SoapFault

_MAX_SENTENCES = 20
"""Maximum number of sentences about one request."""

_HIGH = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xC0))
_MOJIBAKE = re.compile(f"[\u00c2-\u00f4][\u0080-\u00bf{re.escape(_HIGH)}]{{1,3}}")
"""UTF-8 that was decoded as ISO-8859-1 or Windows-1252."""

_OVERFLOWING = re.compile(r"[+-]?[0-9]{10,}")
_LONGEST_INT = len("-2147483648")
_INTS = ("flowInstanceID", "statusID")
_BRACED_NAMESPACE = re.compile(r"\{[^}]*\}")

_with_principal = frozenset(
    name_request_element(name)
    for name, shape in SHAPES.items()
    if any("principal" in line for line in shape.request_fields)
)
_schemas = threading.local()


def find_ignored(operation: Operation, charset: str | None) -> tuple[str, ...]:
    """Return a sentence for each part of a request that Open-E silently ignores or misinterprets; at most 20."""
    found: list[str] = []
    for sentence in _find_sentences(operation, charset):
        if sentence not in found:
            found.append(sentence)
        if len(found) == _MAX_SENTENCES:
            break
    return tuple(found)


def _find_sentences(operation: Operation, charset: str | None) -> Iterator[str]:
    element = operation.element
    if operation.name != f"{{{CALLBACK_NAMESPACE}}}{operation.local_name}":
        return
    if element.getnext() is not None:
        yield "The body contains a second element, which Open-E ignores."
    for name in _INTS:
        yield from _find_overflow(name, find_child(element, name))
    yield from _find_wrong_namespaces(element)
    yield from _find_mojibake(element, charset)
    yield from _find_wrong_files(operation)
    if operation.local_name in _with_principal and find_child(element, "principal") is None:
        yield "The request has no principal, so the message has no named sender, whichever account calls."
    schema = _get_schema()
    # Validate only the callback's own elements: unknown elements are already reported.
    if operation.local_name in _list_requests() and not schema.validate(element):
        for error in schema.error_log:  # type: ignore[attr-defined]  # The stubs of lxml forget that logs are lists.
            yield f"Schema violation: {_BRACED_NAMESPACE.sub('', error.message)[:300]}"


def _find_overflow(name: str, element: Element | None) -> Iterator[str]:
    digits = (read_text(element) or "").strip()
    if _OVERFLOWING.fullmatch(digits) and (len(digits) > _LONGEST_INT or not -(2**31) <= int(digits) < 2**31):
        yield f"{name} {quote(digits)} is not a 32-bit integer; Open-E wraps it, so it may identify another case."


def _find_wrong_namespaces(element: Element) -> Iterator[str]:
    for each in element.iterdescendants("*"):
        name = QName(each)
        if name.namespace is None:
            yield f"{quote(name.localname)} has no namespace, so Open-E ignores it."
        elif name.namespace != CALLBACK_NAMESPACE and name.localname != "Include":
            yield (
                f"{quote(name.localname)} is in the namespace {quote(name.namespace)} instead of the callback's, so "
                "Open-E ignores it."
            )


def _find_mojibake(element: Element, charset: str | None) -> Iterator[str]:
    for holder in element.iterdescendants("*"):
        for broken in _MOJIBAKE.findall(holder.text or ""):
            try:
                meant = b"".join(each.encode("latin-1" if each < "\u0100" else "cp1252") for each in broken).decode()
            except UnicodeError:
                continue
            yield (
                f"{QName(holder).localname} has {quote(broken)} where {quote(meant)} was meant: the bytes are "
                f"UTF-8, but they were sent as {charset or 'what the XML declares'}."
            )
            break


def _find_wrong_files(operation: Operation) -> Iterator[str]:
    for encoded_data, content in operation.contents.items():
        attachment = encoded_data.getparent()
        declared = (read_text(find_child(attachment, "size")) or "").strip()
        name = quote(read_text(find_child(attachment, "filename")))
        if content is not None and declared != str(content.size):
            yield f"The file {name} has {content.size} bytes, but its declared size is {quote(declared)}."


def find_unknown_sender(request: Request) -> tuple[str, ...]:
    """Return a sentence about an unknown sender of a request, if it has one."""
    user_id = read_text(find_child(find_child(request.element, "principal"), "userID"))
    if request.scenario.users is None or user_id is None or request.scenario.user(user_id) is not None:
        return ()
    return (f"principal/userID {quote(user_id)} is not a known user, so the message has no named sender.",)


def reject_in_strict_mode(faults: tuple[str, ...]) -> None:
    """Raise SoapFault if there is anything to reject."""
    if faults:
        raise SoapFault(
            f"Rejected in strict mode: {' '.join(faults)}",
            code="Client",
            received=" ".join(faults),
            accepted="a request that is valid against the schema (?xsd=1), with a known sender, true sizes and charset",
        )


def _list_requests() -> frozenset[str]:
    return frozenset(map(name_request_element, SHAPES))


def _get_schema() -> XMLSchema:
    """Return the schema of the current thread: its error log must not be shared."""
    if not hasattr(_schemas, "schema"):
        _schemas.schema = build_strict_schema()
    schema: XMLSchema = _schemas.schema
    return schema
