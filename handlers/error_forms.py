"""The form in which a contract tells errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from domain.errors import BudkavleError, Violation
from handlers import error_list_texts, error_lists, problem_texts, replies
from handlers.faults import Say, Unreadable


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """Words for faults, and answers for errors. `unexpected` answers faults of ours."""

    say: Say
    unreadable: Callable[[Unreadable], Sequence[Violation]]
    failed: Callable[[BudkavleError], Response]
    unexpected: Callable[[], Response]


PROBLEMS = ErrorForm(problem_texts.violation, problem_texts.unreadable, replies.failed, replies.unexpected)
"""problem+json, in English."""

ERROR_LISTS = ErrorForm(
    error_list_texts.violation, error_list_texts.unreadable, error_lists.failed, error_lists.unexpected
)
"""The lists of numbered errors that the owner of the subscriptions published, in Danish."""
