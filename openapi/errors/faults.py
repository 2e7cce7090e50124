"""Faults of a request, independent of the texts of a contract."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from domain.errors import Invalid, Violation

Reason = Literal["json", "utf-8", "surrogate", "depth", "number", "twice", "values", "incomplete", "form"]
"""The reason why a body cannot be parsed, from which each contract derives its text."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One violation of a schema: the path and value, the keyword of the schema, and the rule of the keyword.

    Parameters have keywords of their own: `utf-8`, `nul`, `twice`, `unknown` and `many`; credentials have `twice` and
    `token`.
    """

    path: list[str | int]
    keyword: str
    rule: dict[str, Any] = field(default_factory=dict)
    value: object = None


DescribeFault = Callable[[Fault, str], Violation | None]
"""A function that converts a fault to a violation with the contract's text, or returns None if it is reported already.

The text argument is a prefix of the field.
"""


class Unreadable(Invalid):
    """The body cannot be parsed. `place` is the line and column, if known."""

    def __init__(self, message: str, reason: Reason, place: tuple[int, int] | None = None) -> None:
        super().__init__([Violation("body", message)])
        self.reason = reason
        self.place = place


def count(error: Exception) -> int:
    """Return the number of errors in the response."""
    return len(error.violations) if isinstance(error, Invalid) else 1
