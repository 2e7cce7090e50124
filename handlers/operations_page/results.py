"""The results of actions, which a browser fetches after its form was processed, so that a reload repeats nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_RESULTS = 1000
"""Results of one process that are remembered."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an action. `tone` is good, warn or bad; `links` are texts and addresses to go on with."""

    title: str
    tone: str
    sentences: Sequence[str]
    links: Sequence[tuple[str, str]]


class Results:
    """The latest results, by the id of the request."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], Result] = {}

    def add(self, operator: str, request_id: str, result: Result) -> None:
        """Remember the result of an operator's request."""
        while len(self._results) >= MAX_RESULTS:
            del self._results[next(iter(self._results))]
        self._results[operator, request_id] = result

    def find(self, operator: str, request_id: str) -> Result | None:
        """Return a result of this operator, or None if it is not remembered."""
        return self._results.get((operator, request_id))
