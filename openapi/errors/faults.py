"""What can be wrong with a request, before a contract says it in its own words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from domain.errors import Invalid, Violation

Reason = Literal["json", "utf-8", "surrogate", "depth", "number", "twice", "values", "incomplete", "form"]
"""Why a body cannot be read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where, which keyword of the schema, what the keyword says, and the value.

    Parameters have keywords of their own: `utf-8`, `nul`, `twice`, `unknown` and `many`.
    """

    path: list[str | int]
    keyword: str
    rule: dict[str, Any] = field(default_factory=dict)
    value: object = None


Say = Callable[[Fault, str], Violation | None]
"""Says a fault in the words of a contract, None where it is said already; the text stands before the field."""


class Unreadable(Invalid):
    """The body cannot be read; `place` is where, as line and column, if that is known."""

    def __init__(self, message: str, reason: Reason, place: tuple[int, int] | None = None) -> None:
        super().__init__([Violation("body", message)])
        self.reason = reason
        self.place = place


def count(error: Exception) -> int:
    """How many errors the answer lists."""
    return len(error.violations) if isinstance(error, Invalid) else 1
