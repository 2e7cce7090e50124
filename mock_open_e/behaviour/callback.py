"""Process a SOAP request to one instance: authenticate, parse, check, execute and build the response."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from email.message import Message as Headers
from typing import NamedTuple

from mock_open_e.behaviour import fault_effects, refusals
from mock_open_e.behaviour.journal import Findings, MockResponse, Refusal, SentFile
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operations import check
from mock_open_e.behaviour.orders import Orders
from mock_open_e.behaviour.request import Request
from mock_open_e.behaviour.scenario import Account
from mock_open_e.behaviour.soap import mtom
from mock_open_e.behaviour.soap.reading import Operation, find_child, parse_int, read_request, read_text
from mock_open_e.behaviour.soap.writing import build_content_type, write_fault, write_reply
from mock_open_e.behaviour.soap_fault import SoapFault
from mock_open_e.behaviour.state import Files
from mock_open_e.behaviour.strict import find_ignored, find_unknown_sender, reject_in_strict_mode


class ParsedRequest(NamedTuple):
    """A parsed request: its operation, and the charset of its Content-Type."""

    operation: Operation
    charset: str | None
    notes: tuple[str, ...]

    def move_files(self, files: Files) -> "ParsedRequest":
        """Return the same request with the bytes of its files moved to `files`."""
        contents = {
            element: None if content is None else files.store(content)
            for element, content in self.operation.contents.items()
        }
        return self._replace(operation=self.operation._replace(contents=contents))


def authenticate(accounts: tuple[Account, ...], authorization: str | None) -> tuple[str | None, MockResponse | None]:
    """Return the authenticated account (None if no accounts exist), and a 401 response if authentication failed."""
    if not accounts:
        return None, None
    scheme, _, credentials = (authorization or "").partition(" ")
    given = b""
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(credentials.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
    for account in accounts:
        if hmac.compare_digest(given, f"{account.username}:{account.password}".encode()):
            return account.username, None
    return None, fault_effects.build_unauthorized_response("Bad credentials" if authorization else "Unauthorized")


def receive(
    headers: Mapping[str, str], body: bytes | bytearray, findings: Findings, keep_bytes: int
) -> ParsedRequest | MockResponse:
    """Parse a body. Return the request, or the response to an invalid one. Call without the lock: parsing is slow."""
    kind = Headers()
    kind["content-type"] = headers.get("content-type", "text/xml")
    parts = mtom.split(kind, body)
    if parts is None and kind.get_content_type() != "text/xml":
        findings.refusal = Refusal(
            f"Content-Type {refusals.quote(headers.get('content-type'))}",
            "text/xml, or multipart/related for MTOM",
        )
        return MockResponse(415, {}, b"")
    charset = kind.get_param("charset") if parts is None else parts.charset
    charset = charset if isinstance(charset, str) else None
    try:
        operation = read_request(
            body if parts is None else parts.envelope,
            charset,
            parts=None if parts is None else parts.files,
            keep_bytes=keep_bytes,
        )
    except SoapFault as fault:
        return _build_fault_response(fault, charset, findings)
    findings.operation = operation.local_name.removesuffix("Request")
    findings.case = parse_int(find_child(operation.element, "flowInstanceID"))
    findings.files = list_files(operation)
    return ParsedRequest(operation, charset, find_ignored(operation, charset))


def execute(sent: ParsedRequest, request: Request, orders: Orders) -> MockResponse:
    """Execute a request and return the response. The caller holds the lock."""
    findings = request.findings
    try:
        findings.notes = (*sent.notes, *find_unknown_sender(request))
        if request.scenario.strict:
            reject_in_strict_mode(findings.notes)
        name, change = check(request)
        order = orders.find_due(request.state.instance, name, findings.case)
        findings.fault = order.fault if order else None
        fault_response = fault_effects.respond_before_work(order, findings.case)
        if fault_response is not None:
            findings.refusal = fault_effects.explain_order(fault_response.status)
            return fault_response
        reply = change()
    except SoapFault as fault:
        return _build_fault_response(fault, sent.charset, findings)
    findings.message_id = reply.number
    body = write_reply(f"{name}Response", reply.content, sent.charset)
    return fault_effects.apply_after_work(
        order, MockResponse(200, {"Content-Type": build_content_type(sent.charset)}, body)
    )


def _build_fault_response(fault: SoapFault, charset: str | None, findings: Findings) -> MockResponse:
    findings.refusal = fault_effects.explain_order(500) if findings.fault else fault.refusal
    return MockResponse(500, {"Content-Type": build_content_type(charset)}, write_fault(fault, charset))


def list_files(operation: Operation) -> tuple[SentFile, ...]:
    """Return the files of a request, even if the request is then rejected."""
    files = []
    for attachment in operation.element.iterfind(f".//{{{CALLBACK_NAMESPACE}}}attachments"):
        encoded_data = find_child(attachment, "encodedData")
        content = None if encoded_data is None else operation.contents.get(encoded_data)
        if content is not None:
            files.append(SentFile(read_text(find_child(attachment, "filename")) or "", content.size, content.sha256))
    return tuple(files)
