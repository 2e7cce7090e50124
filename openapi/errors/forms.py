"""The form of errors in a contract."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from domain.errors import BudkavleError, Violation
from openapi.errors import problem_replies, problem_texts
from openapi.errors.faults import DescribeFault, Unreadable


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The texts of faults, and the responses to errors. `unexpected` responds to internal errors."""

    describe: DescribeFault
    unreadable: Callable[[Unreadable], Sequence[Violation]]
    failed: Callable[[BudkavleError], Response]
    unexpected: Callable[[], Response]


PROBLEMS = ErrorForm(
    problem_texts.violation, problem_texts.unreadable, problem_replies.failed, problem_replies.unexpected
)
"""problem+json, in English."""
