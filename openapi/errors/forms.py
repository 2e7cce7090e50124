"""The form in which a contract tells errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from domain.errors import BudkavleError, Violation
from openapi.errors import problem_replies, problem_texts
from openapi.errors.faults import Say, Unreadable


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """Words for faults, and answers for errors. `unexpected` answers faults of ours."""

    say: Say
    unreadable: Callable[[Unreadable], Sequence[Violation]]
    failed: Callable[[BudkavleError], Response]
    unexpected: Callable[[], Response]


PROBLEMS = ErrorForm(
    problem_texts.violation, problem_texts.unreadable, problem_replies.failed, problem_replies.unexpected
)
"""problem+json, in English."""
