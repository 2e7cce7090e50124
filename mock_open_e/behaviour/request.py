"""One SOAP request as operations see it, and what most of them begin with: the case, access to it, the sender."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lxml.etree import _Element as Element

from mock_open_e.behaviour import refusals
from mock_open_e.behaviour.journal import Findings
from mock_open_e.behaviour.scenario import Family, Scenario, User
from mock_open_e.behaviour.soap.reading import Operation, child, int_of, text_of
from mock_open_e.behaviour.state import Case, State


class Reply(NamedTuple):
    """What an operation answers: the content of its response element, and the number that it made, if any."""

    content: str = ""
    number: int | None = None


Change = Callable[[], Reply]
"""Carries out what was found to be acceptable."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, with all that is needed to carry it out. `account` is who calls, None where nobody needs to say."""

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


def find_case(request: Request, *, prefix: bool = True, externally: bool = True) -> Case:
    """The case that a request is about, which its caller may write to.

    Raises SoapFault in Open-E's order: no such case before no access. `prefix`: whether the operation tells the class
    of an exception that it did not expect. `externally`: whether it takes a case by an external id alone, which it
    then says is not implemented.
    """
    element = child(request.element, "flowInstanceID")
    if externally and element is None and child(request.element, "externalID") is not None:
        raise refusals.external_id_only(prefix=prefix)
    number = int_of(element)
    request.findings.case = number
    case = request.state.case(number)
    if case is None:
        raise refusals.not_found(number, _why_unreadable(element) if number is None else "")
    allowed = request.scenario.allowed_families
    if allowed is not None and case.family not in allowed:
        raise refusals.not_in_allowed_families(case.number)
    family = request.scenario.family(case.family)
    if family is not None and family.accounts is not None and request.account not in family.accounts:
        raise refusals.access_denied(request.account)
    return case


def _why_unreadable(element: Element | None) -> str:
    if element is None:
        return "no flowInstanceID in the callback's namespace"
    return f"flowInstanceID {refusals.shown(text_of(element))}, which is no number"


def family_of(request: Request, case: Case) -> Family:
    """The family of a case, or one that is open to all."""
    return request.scenario.family(case.family) or Family(case.family or 0)


def sender(request: Request) -> tuple[str | None, User | None]:
    """The userID of the principal as sent, and the user of that name. The principal's `name` is never used."""
    user_id = text_of(child(child(request.element, "principal"), "userID"))
    request.findings.user_id = user_id
    return user_id, None if user_id is None else request.scenario.user(user_id)
