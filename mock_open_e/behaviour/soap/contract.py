"""The responses of the callback to calls other than requests: WSDL, schema, and a page for people.

Source: the output of JAX-WS RI 2.3 for the callback's classes. It is rewritten from facts, so names, namespaces and
addresses are the same but the bytes differ.
"""

from html import escape

from mock_open_e.behaviour.journal import Findings, MockResponse, ReceivedCall, Refusal
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operation_table import FAULTS, SHAPES, name_request_element
from mock_open_e.behaviour.soap.schema import render_served_schema

SERVICE_NAMESPACE = "http://callback.integration.flowengine.nordicpeak.com/"
"""The target namespace of the WSDL with the service. The service class declares none, so its package determines it."""

_XML = "text/xml;charset=utf-8"
_HTML = "text/html;charset=utf-8"
_DEFINITIONS = (
    '<?xml version="1.0" encoding="UTF-8"?><definitions xmlns="http://schemas.xmlsoap.org/wsdl/" '
    'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    f'xmlns:wsam="http://www.w3.org/2007/05/addressing/metadata" xmlns:tns="{CALLBACK_NAMESPACE}" '
)


def respond(call: ReceivedCall, findings: Findings) -> MockResponse:
    """Return the response to a call that is neither POST nor PUT."""
    if call.method != "GET":
        findings.refusal = Refusal(f"the method {call.method}", "POST or PUT with a request, or GET ?wsdl")
        is_head = call.method == "HEAD"
        return MockResponse(404, {}, b"") if is_head else MockResponse(405, {"Allow": "GET, POST, PUT"}, b"")
    match call.query.lower():
        case "wsdl":
            return MockResponse(200, {"Content-Type": _XML}, _render_service(call.url).encode())
        case "wsdl=1":
            return MockResponse(200, {"Content-Type": _XML}, _render_port_type(call.url).encode())
        case "xsd=1":
            return MockResponse(200, {"Content-Type": _XML}, render_served_schema().encode())
        case query if query.startswith(("wsdl=", "xsd=")):
            findings.refusal = Refusal(
                f"?{call.query[:80]}, which is not part of the contract", "?wsdl, ?wsdl=1, ?xsd=1"
            )
            return MockResponse(404, {"Content-Type": _HTML}, _render_page("<h1>404 Not Found</h1>").encode())
    return MockResponse(200, {"Content-Type": _HTML}, _render_page(_render_table(call.url)).encode())


def _render_page(content: str) -> str:
    return f"<html><head><title>Web Services</title></head><body>{content}</body></html>"


def _render_table(url: str) -> str:
    address = escape(url)
    return (
        "<h1>Web Services</h1><table border='1'><tr><th>Endpoint</th><th>Information</th></tr><tr>"
        f"<td>Service Name: {{{SERVICE_NAMESPACE}}}IntegrationCallback<br>"
        f"Port Name: {{{SERVICE_NAMESPACE}}}IntegrationCallbackPort</td>"
        f'<td>Address: {address}<br>WSDL: <a href="{address}?wsdl">{address}?wsdl</a></td></tr></table>'
    )


def _render_service(url: str) -> str:
    """Return the WSDL with service and binding, which imports the one with the port type."""
    address = escape(url)
    operations = "".join(
        f'<operation name="{name}"><soap:operation soapAction=""/>'
        '<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output>'
        + "".join(f'<fault name="{fault}"><soap:fault name="{fault}" use="literal"/></fault>' for fault in shape.faults)
        + "</operation>"
        for name, shape in SHAPES.items()
    )
    return (
        f'{_DEFINITIONS}xmlns:s="{SERVICE_NAMESPACE}" targetNamespace="{SERVICE_NAMESPACE}" name="IntegrationCallback">'
        f'<import namespace="{CALLBACK_NAMESPACE}" location="{address}?wsdl=1"/>'
        '<binding name="IntegrationCallbackPortBinding" type="tns:IntegrationCallback">'
        '<soap:binding transport="http://schemas.xmlsoap.org/soap/http" style="document"/>'
        f"{operations}</binding>"
        '<service name="IntegrationCallback">'
        '<port name="IntegrationCallbackPort" binding="s:IntegrationCallbackPortBinding">'
        f'<soap:address location="{address}"/></port></service></definitions>'
    )


def _render_port_type(url: str) -> str:
    """Return the WSDL with messages and port type, which imports the schema."""
    messages = []
    operations = []
    for name, shape in SHAPES.items():
        messages += [
            _render_message(name, name_request_element(name)),
            _render_message(f"{name}Response", f"{name}Response"),
        ]
        action = f"{CALLBACK_NAMESPACE}/IntegrationCallback/{name}"
        operations.append(
            f'<operation name="{name}">'
            f'<input wsam:Action="{action}Request" message="tns:{name}"/>'
            f'<output wsam:Action="{action}Response" message="tns:{name}Response"/>'
            + "".join(
                f'<fault name="{fault}" message="tns:{fault}" wsam:Action="{action}/Fault/{fault}"/>'
                for fault in shape.faults
            )
            + "</operation>"
        )
    messages += [_render_message(fault, element, part="fault") for fault, element in FAULTS.items()]
    return (
        f'{_DEFINITIONS}targetNamespace="{CALLBACK_NAMESPACE}"><types><xsd:schema>'
        f'<xsd:import namespace="{CALLBACK_NAMESPACE}" schemaLocation="{escape(url)}?xsd=1"/></xsd:schema></types>'
        f'{"".join(messages)}<portType name="IntegrationCallback">{"".join(operations)}</portType></definitions>'
    )


def _render_message(name: str, element: str, part: str = "parameters") -> str:
    return f'<message name="{name}"><part name="{part}" element="tns:{element}"/></message>'
