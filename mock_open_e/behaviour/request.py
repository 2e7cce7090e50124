"""A SOAP request as operations receive it, and their common first steps: the case, access to it, the sender."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lxml.etree import _Element as Element

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.journal import Findings
from mock_open_e.behaviour.scenario import Family, Scenario, User
from mock_open_e.behaviour.soap.reading import Operation, find_child, parse_int, read_text
from mock_open_e.behaviour.state import Case, State


class Reply(NamedTuple):
    """The result of an operation: the content of its response element, and the number that it created, if any."""

    content: str = ""
    number: int | None = None


Change = Callable[[], Reply]
"""A function that executes an accepted request."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request with everything needed to execute it. `account` is the caller, None if no accounts exist."""

    operation: Operation
    account: str | None
    state: State
    scenario: Scenario
    findings: Findings
    now: datetime

    @property
    def element(self) -> Element:
        """The element of the operation."""
        return self.operation.element

    @property
    def server_time(self) -> datetime:
        """The time of the call by the clock of the server."""
        return self.state.conditions.compute_server_time(self.now)


def find_case(request: Request, *, prefix: bool = True, externally: bool = True) -> Case:
    """Return the case of a request, which the caller may write to.

    Raises SoapFault in Open-E's order: unknown case before missing access. `prefix`: the operation's fault contains the
    class of unexpected exceptions. `externally`: the operation accepts a case by external id only, and then responds
    that this is not implemented.
    """
    element = find_child(request.element, "flowInstanceID")
    if externally and element is None and find_child(request.element, "externalID") is not None:
        raise refusals.external_id_only(prefix=prefix)
    number = parse_int(element)
    request.findings.case = number
    case = request.state.find_case(number)
    if case is None:
        raise refusals.not_found(number, _explain_case_number(element) if number is None else "")
    allowed = request.scenario.allowed_families
    if allowed is not None and case.family not in allowed:
        raise refusals.not_in_allowed_families(case.number)
    family = request.scenario.family(case.family)
    if family is not None and family.accounts is not None and request.account not in family.accounts:
        raise refusals.access_denied(request.account)
    return case


def _explain_case_number(element: Element | None) -> str:
    if element is None:
        return "no flowInstanceID in the callback's namespace"
    return f"flowInstanceID {refusals.quote(read_text(element))}, which is not a number"


def find_family(request: Request, case: Case) -> Family:
    """Return the family of a case, or an unrestricted one."""
    return request.scenario.family(case.family) or Family(case.family or 0)


def find_sender(request: Request) -> tuple[str | None, User | None]:
    """Return the userID of the principal as sent, and its user. The principal's `name` is never used."""
    user_id = read_text(find_child(find_child(request.element, "principal"), "userID"))
    request.findings.user_id = user_id
    return user_id, None if user_id is None else request.scenario.user(user_id)
