"""The messageapi: messages and their files read back."""

from open_e.mock import spoiling
from open_e.mock.journal import Answer, Call, Findings, Refusal
from open_e.mock.orders import Orders
from open_e.mock.scenario import Scenario
from open_e.mock.state import Files, State


def answer(call: Call, findings: Findings, state: State, scenario: Scenario, files: Files, orders: Orders) -> Answer:
    """The answer to a call of the messageapi."""
    del state, scenario, files, orders
    findings.refusal = Refusal(f"the path {call.path!r}", "a path of the messageapi")
    return spoiling.html_page(404, "Not Found")
