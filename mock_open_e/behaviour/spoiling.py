"""The effects of ordered faults on calls."""

from collections.abc import Mapping
from dataclasses import replace

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.journal import Answer, Refusal
from mock_open_e.behaviour.orders import STORING, FaultName, Order
from mock_open_e.behaviour.soap.writing import write_fault
from mock_open_e.behaviour.soap_fault import SoapFault

HTML = "text/html;charset=ISO-8859-1"
"""The Content-Type of Open-E's own pages."""


def explain_order(status: int) -> Refusal:
    """Return the explanation for a call that received an ordered fault."""
    return Refusal("a call that would have been accepted", f"the same: a fault was ordered, answered with {status}")


def before_the_work(order: Order | None, case: int | None) -> Answer | None:
    """Return the response for a fault that stores nothing; None for one that occurs after the work, or for no fault.

    Raises SoapFault for faults that are SOAP faults.
    """
    if order is None or order.fault in STORING:
        return None
    fault = _soap_fault(order.fault, case)
    if fault is not None:
        raise fault
    return _OTHER[order.fault]


def _soap_fault(name: FaultName, case: int | None) -> SoapFault | None:
    match name:
        case "FlowInstanceNotFound":
            return refusals.not_found(case)
        case "AccessDenied":
            return refusals.access_denied()
        case "NoDetail":
            return SoapFault("java.lang.RuntimeException: Unable to add message")
        case "DatabaseTooLong":
            return refusals.too_long("message")
    return None


def html_page(status: int, text: str) -> Answer:
    """Return an error page of Open-E's server."""
    body = f"<html><head><title>{status} {text}</title></head><body><h1>{status} {text}</h1></body></html>"
    return Answer(status, {"Content-Type": HTML}, body.encode())


def unauthorized(text: str) -> Answer:
    """Return the response to missing or wrong credentials."""
    headers = {"Content-Type": "text/plain", "WWW-Authenticate": 'Basic realm="Mock Open-E"'}
    return Answer(401, headers, text.encode())


_OTHER: Mapping[FaultName, Answer] = {
    "Http200Fault": Answer(
        200,
        {"Content-Type": "text/xml; charset=utf-8"},
        write_fault(SoapFault("The requested flow instance was not found", detail="FlowInstanceNotFoundFault"), None),
    ),
    "Http401": unauthorized("Bad credentials"),
    "Http403": html_page(403, "Forbidden"),
    "Http404": html_page(404, "Not Found"),
    "Http500": Answer(500, {"Content-Type": HTML}, b"<html>Internal error</html>"),
    "Reset": Answer(0, {}, b"", ending="reset"),
}
"""Faults that store nothing and are no SOAP faults with HTTP 500."""


def after_the_work(order: Order | None, answer: Answer) -> Answer:
    """Return the response after an ordered fault is applied to it."""
    if order is None:
        return answer
    match order.fault:
        case "Slow":
            answer = replace(answer, delay=order.seconds)
        case "SlowBytes":
            answer = replace(answer, trickle=order.seconds)
        case "Garbage":
            answer = Answer(200, {"Content-Type": HTML}, b"This is not XML")
        case "AcceptedAnswerLost":
            answer = Answer(0, {}, b"", ending="close")
        case "TruncatedXml":
            answer = replace(answer, body=answer.body[: len(answer.body) * 2 // 3])
        case "WrongCharset":
            # The headers and the XML declare UTF-8, but the bytes are Latin-1.
            head, _, rest = answer.body.partition(b"?>")
            answer = replace(answer, body=head + b"?>" + "<!-- Svar från Open-E -->".encode("latin-1") + rest)
    return answer
