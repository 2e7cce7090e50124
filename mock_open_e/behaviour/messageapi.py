"""The messageapi: returns messages and their files in the format that clients of it have recorded.

    getmessages/family/N    getmessages/flowinstance/N    getmessages/N (a flow version)    ?fromDate=&toDate=
    getmessage/N            getattachment/N

Flow versions are not imitated: their number is interpreted as that of a family. Internal messages are not returned.
"""

import mimetypes
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

from mock_open_e.behaviour import fault_effects
from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.journal import Findings, MockResponse, ReceivedCall, Refusal
from mock_open_e.behaviour.orders import READING, Orders
from mock_open_e.behaviour.scenario import User
from mock_open_e.behaviour.soap.writing import escape_xml_text, write_fault
from mock_open_e.behaviour.soap_fault import SoapFault
from mock_open_e.behaviour.state import File, Files, Message, State

_XML = "text/xml;charset=ISO-8859-1"
_PATH = re.compile(
    r"(?P<list>getmessages)/((?P<by>family|flowinstance)/)?(?P<key>[0-9]{1,10})"
    r"|getmessage/(?P<message>[0-9]{1,10})|getattachment/(?P<attachment>[0-9]{1,10})"
)
_PATHS = "getmessages/family/N, getmessages/flowinstance/N, getmessages/N, getmessage/N or getattachment/N"
_BYTES_PER_KB = 1024


class _Period(NamedTuple):
    """Minutes as `yyyy-MM-dd HH:mm`, which sort as text; empty means unlimited."""

    since: str
    until: str


def respond(
    call: ReceivedCall, findings: Findings, state: State, files: Files, orders: Orders, now: datetime
) -> MockResponse:
    """Return the response to a call of the messageapi. The caller holds the lock."""
    findings.operation = READING
    successful = _respond_to_authorised_call(call, findings, state, files, now)
    order = orders.find_due(call.instance, READING, findings.case) if findings.refusal is None else None
    findings.fault = order.fault if order else None
    try:
        fault_response = fault_effects.respond_before_work(order, findings.case)
    except SoapFault as fault:
        fault_response = MockResponse(500, {"Content-Type": "text/xml; charset=utf-8"}, write_fault(fault, None))
    if fault_response is not None:
        findings.refusal = fault_effects.explain_order(fault_response.status)
        return fault_response
    return fault_effects.apply_after_work(order, successful)


def _respond_to_authorised_call(
    call: ReceivedCall, findings: Findings, state: State, files: Files, now: datetime
) -> MockResponse:
    found = _PATH.fullmatch(call.path)
    if found is None or call.method not in {"GET", "HEAD"}:
        return _report_missing(findings, f"{call.method} {call.path[:80]!r}", f"GET of {_PATHS}")
    if found["attachment"]:
        return _respond_with_attachment(int(found["attachment"]), findings, state, files)
    conditions = state.conditions
    messages: Iterable[Message] = (
        each for each in state.messages if each.kind != "internal" and conditions.is_visible(each.stored, now)
    )
    if found["message"]:
        wanted = [each for each in messages if each.message_id == int(found["message"])]
        return _list(wanted, conditions)
    key = int(found["key"])
    if found["by"] == "flowinstance":
        findings.case = key
        messages = (each for each in messages if each.case == key)
    else:
        messages = (each for each in messages if _find_family(state, each) == key)
    dates = _parse_period(call.query, findings)
    if dates is None:
        return fault_effects.build_html_page(400, "Bad Request")
    return _list([each for each in messages if _is_within(conditions.convert_to_minute(each.added), dates)], conditions)


def _find_family(state: State, message: Message) -> int | None:
    case = state.find_case(message.case)
    return None if case is None else case.family


def _parse_period(query: str, findings: Findings) -> _Period | None:
    """Return the requested period, or None if a date is invalid. Names have any case; empty values are unlimited."""
    given = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
    dates = _Period(given.get("fromdate", ""), given.get("todate", ""))
    for value in filter(None, dates):
        try:
            is_minute = f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}" == value
        except ValueError:
            is_minute = False
        if not is_minute:
            findings.refusal = Refusal(f"the date {value[:80]!r}", "a date as yyyy-MM-dd HH:mm, or an empty value")
            return None
    return dates


def _is_within(minute: str, wanted: _Period) -> bool:
    return (not wanted.since or wanted.since <= minute) and (not wanted.until or minute <= wanted.until)


def _report_missing(findings: Findings, received: str, accepted: str) -> MockResponse:
    findings.refusal = Refusal(received, accepted)
    return fault_effects.build_html_page(404, "Not Found")


def _respond_with_attachment(number: int, findings: Findings, state: State, files: Files) -> MockResponse:
    for message in state.messages:
        for file in message.files:
            if file.attachment_id == number:
                findings.case = message.case
                data = files.get(file.content.sha256) if file.content.size else b""
                if data is None:
                    return _report_missing(
                        findings,
                        f"the attachmentID {number}, whose bytes are no longer stored",
                        "the attachmentID of a newer file",
                    )
                kind = mimetypes.guess_type(file.filename)[0] or "application/octet-stream"
                return MockResponse(200, {"Content-Type": kind}, data)
    return _report_missing(
        findings, f"the attachmentID {number}, which no message has", "the attachmentID of a message"
    )


def _list(messages: list[Message], conditions: Conditions) -> MockResponse:
    head = '<?xml version="1.0" encoding="ISO-8859-1" standalone="no"?>'
    content = "".join(part for message in messages for part in _render_message(message, conditions))
    markup = f"{head}<Messages>{content}</Messages>" if content else f"{head}<Messages />"
    return MockResponse(200, {"Content-Type": _XML}, markup.encode("iso-8859-1", "xmlcharrefreplace"))


def _render_message(message: Message, conditions: Conditions) -> Iterator[str]:
    by_manager = "true" if message.kind == "manager" else "false"
    receipt = "true" if message.read_receipt else "false"
    yield (
        f"<ExternalMessage><postedByManager>{by_manager}</postedByManager><systemMessage>false</systemMessage>"
        f"<readReceiptEnabled>{receipt}</readReceiptEnabled><messageID>{message.message_id}</messageID>"
        f"<message>{escape_xml_text(message.text)}</message>"
    )
    if message.files:
        yield f"<attachments>{''.join(_render_file(file, conditions) for file in message.files)}</attachments>"
    if message.poster is not None:
        yield _render_poster(message.poster)
    added = conditions.convert_to_minute(message.added)
    yield (f"<added>{added}</added><flowInstanceID>{message.case}</flowInstanceID></ExternalMessage>")


def _render_file(file: File, conditions: Conditions) -> str:
    return (
        f"<ExternalMessageAttachment><attachmentID>{file.attachment_id}</attachmentID>"
        f"<filename>{escape_xml_text(file.filename)}</filename><size>{file.size}</size>"
        f"<added>{conditions.format_minute(file.added)}</added><FormatedSize>{_format_size(file.size)}</FormatedSize>"
        "</ExternalMessageAttachment>"
    )


def _format_size(size: int) -> str:
    for unit in ("B", "KB", "MB"):
        if size < _BYTES_PER_KB:
            return f"{size} {unit}"
        size //= _BYTES_PER_KB
    return f"{size} GB"


def _render_poster(user: User) -> str:
    texts = "".join(
        f"<{name}>{escape_xml_text(value)}</{name}>"
        for name, value in (("firstname", user.firstname), ("lastname", user.lastname), ("email", user.email))
        if value
    )
    return (
        f"<poster><userID>{user.number}</userID><username>{escape_xml_text(user.username)}</username>{texts}"
        "<admin>false</admin><enabled>true</enabled><isMutable>true</isMutable><hasFormProvider>true</hasFormProvider>"
        "</poster>"
    )
