"""The effects of ordered faults on calls."""

from collections.abc import Mapping
from dataclasses import replace

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.journal import MockResponse, Refusal
from mock_open_e.behaviour.orders import STORING, FaultName, Order
from mock_open_e.behaviour.soap.writing import write_fault
from mock_open_e.behaviour.soap_fault import SoapFault

HTML = "text/html;charset=ISO-8859-1"
"""The Content-Type of Open-E's own pages."""


def explain_order(status: int) -> Refusal:
    """Return the explanation for a call that received an ordered fault."""
    return Refusal(
        "an acceptable call, which failed because a fault was ordered",
        f"the same call; the ordered fault returned {status}",
    )


def respond_before_work(order: Order | None, case: int | None) -> MockResponse | None:
    """Return the response for a fault that stores nothing; None for one that occurs after the work, or for no fault.

    Raises SoapFault for faults that are SOAP faults.
    """
    if order is None or order.fault in STORING:
        return None
    fault = _build_soap_fault(order.fault, case)
    if fault is not None:
        raise fault
    return _OTHER[order.fault]


def _build_soap_fault(name: FaultName, case: int | None) -> SoapFault | None:
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


def build_html_page(status: int, text: str) -> MockResponse:
    """Return an error page of Open-E's server."""
    body = f"<html><head><title>{status} {text}</title></head><body><h1>{status} {text}</h1></body></html>"
    return MockResponse(status, {"Content-Type": HTML}, body.encode())


def build_unauthorized_response(text: str) -> MockResponse:
    """Return the response to missing or wrong credentials."""
    headers = {"Content-Type": "text/plain", "WWW-Authenticate": 'Basic realm="Mock Open-E"'}
    return MockResponse(401, headers, text.encode())


_OTHER: Mapping[FaultName, MockResponse] = {
    "Http200Fault": MockResponse(
        200,
        {"Content-Type": "text/xml; charset=utf-8"},
        write_fault(SoapFault("The requested flow instance was not found", detail="FlowInstanceNotFoundFault"), None),
    ),
    "Http401": build_unauthorized_response("Bad credentials"),
    "Http403": build_html_page(403, "Forbidden"),
    "Http404": build_html_page(404, "Not Found"),
    "Http500": MockResponse(500, {"Content-Type": HTML}, b"<html>Internal error</html>"),
    "Reset": MockResponse(0, {}, b"", ending="reset"),
}
"""Responses of the faults that store nothing, except SOAP faults with HTTP 500."""


def apply_after_work(order: Order | None, response: MockResponse) -> MockResponse:
    """Return the response after an ordered fault is applied to it."""
    if order is None:
        return response
    match order.fault:
        case "Slow":
            response = replace(response, delay=order.seconds)
        case "SlowBytes":
            response = replace(response, trickle=order.seconds)
        case "Garbage":
            response = MockResponse(200, {"Content-Type": HTML}, b"This is not XML")
        case "AcceptedAnswerLost":
            response = MockResponse(0, {}, b"", ending="close")
        case "TruncatedXml":
            response = replace(response, body=response.body[: len(response.body) * 2 // 3])
        case "WrongCharset":
            # The headers and the XML declare UTF-8, but the bytes are Latin-1.
            head, _, rest = response.body.partition(b"?>")
            response = replace(response, body=head + b"?>" + "<!-- Svar från Open-E -->".encode("latin-1") + rest)
    return response
