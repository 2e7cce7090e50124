"""What the callback answers to anything but a request: WSDL and schema in their parts, and a page for people."""

from open_e.mock.journal import Answer, Call, Findings, Refusal


def answer(call: Call, findings: Findings) -> Answer:
    """The answer to a call that is neither POST nor PUT."""
    findings.refusal = Refusal(f"{call.method} with the query {call.query!r}", "POST, or GET of ?wsdl")
    return Answer(404, {}, b"")
