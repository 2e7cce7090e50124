"""An explanation of each fault: what the caller sees, and when a real Open-E does this."""

from collections.abc import Mapping
from dataclasses import dataclass

from mock_open_e.behaviour.orders import STORING, FaultName

_LASTING: frozenset[FaultName] = frozenset({"Slow", "SlowBytes"})


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault in plain words: a short name, what the caller sees, and when a real Open-E does this."""

    fault: FaultName
    title: str
    effect: str
    cause: str

    @property
    def is_stored(self) -> bool:
        """Whether the message is stored, so that a repeated call stores it twice."""
        return self.fault in STORING

    @property
    def uses_seconds(self) -> bool:
        """Whether the seconds of the order have an effect."""
        return self.fault in _LASTING


_TEXTS: Mapping[FaultName, tuple[str, str, str]] = {
    "AcceptedAnswerLost": (
        "Response lost",
        "The connection closes without a response, and the caller cannot know whether the message arrived.",
        "The network, a proxy or the server fails just after the message was stored.",
    ),
    "Slow": (
        "Slow response",
        "The correct response, after a delay of the given seconds.",
        "The server or its database is under load, or the files are large.",
    ),
    "SlowBytes": (
        "Response byte by byte",
        "The correct response, spread evenly over the given seconds: each byte restarts the read timeout.",
        "A proxy or a congested network lets only little through.",
    ),
    "TruncatedXml": (
        "Truncated XML",
        "HTTP 200 with the first two thirds of the correct response.",
        "A proxy ends the response early.",
    ),
    "Garbage": (
        "Response that is not XML",
        "HTTP 200 and text/html with the text “This is not XML”.",
        "A gateway replaces the response with a page of its own, such as a login or maintenance page.",
    ),
    "WrongCharset": (
        "Wrong charset",
        "HTTP 200 with XML that declares UTF-8 and contains a byte of Latin-1, which a strict parser rejects.",
        "A text of Open-E passes through a component with another charset.",
    ),
    "FlowInstanceNotFound": (
        "Case not found",
        "HTTP 500 with a SOAP fault and the detail FlowInstanceNotFoundFault.",
        "The case was deleted, belongs to the other instance, or has a flow family that is not exposed.",
    ),
    "AccessDenied": (
        "Access denied",
        "HTTP 500 with a SOAP fault and the detail AccessDeniedFault.",
        "The account of the caller has no access to the flow family of the case.",
    ),
    "NoDetail": (
        "SOAP fault without detail",
        "HTTP 500 with a SOAP fault that has only the text of a Java exception.",
        "An error within Open-E for which its contract has no fault.",
    ),
    "DatabaseTooLong": (
        "Value too long for the database",
        "HTTP 500 with a SOAP fault that has only the text of a database error.",
        "A text or file name is longer than its column.",
    ),
    "Http200Fault": (
        "SOAP fault with HTTP 200",
        "HTTP 200 with a SOAP fault in the body, so that the status alone looks like success.",
        "A gateway in front of Open-E changes the status 500 to 200.",
    ),
    "Http401": (
        "Credentials rejected",
        "HTTP 401 with the text “Bad credentials”.",
        "The password was changed, or the account is locked.",
    ),
    "Http403": (
        "Forbidden",
        "HTTP 403 with an HTML page.",
        "A firewall or the server does not allow the address or the account of the caller.",
    ),
    "Http404": (
        "Address not found",
        "HTTP 404 with an HTML page.",
        "The address is wrong, or Open-E restarts and its callback is not yet available.",
    ),
    "Http500": (
        "Server error",
        "HTTP 500 with an HTML page instead of a SOAP fault.",
        "The server fails outside of the callback, for example without memory or during a restart.",
    ),
    "Reset": (
        "Connection reset",
        "The connection is reset (TCP RST) without a response.",
        "The server stops, or a firewall or load balancer drops the connection.",
    ),
}

FAULT_KINDS: tuple[FaultKind, ...] = tuple(FaultKind(fault, *texts) for fault, texts in _TEXTS.items())
"""All faults, first those that store the message."""
