"""The form of a contract's errors: their texts and responses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from domain.errors import BudkavleError, Violation
from openapi.errors import problem_replies, problem_texts
from openapi.errors.faults import DescribeFault, Unreadable


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The texts of faults, and the responses to errors. `render_internal_error` returns the 500."""

    describe: DescribeFault
    unreadable: Callable[[Unreadable], Sequence[Violation]]
    render_error: Callable[[BudkavleError], Response]
    render_internal_error: Callable[[], Response]


PROBLEMS = ErrorForm(
    problem_texts.build_violation,
    problem_texts.list_parse_violations,
    problem_replies.render_error,
    problem_replies.render_internal_error,
)
"""problem+json, in English."""
