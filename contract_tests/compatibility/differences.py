"""A difference between two contracts, and its texts."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Side(StrEnum):
    """The sender of the data that a schema describes. It determines which changes are compatible.

    Callers send requests, and the service sends answers. Requests that the service sends are compared as answers.
    """

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True)
class Difference:
    """An incompatible change for users of the older contract, with an address that stays stable as it grows."""

    address: str
    text: str

    def __str__(self) -> str:
        return f"{self.address}: {self.text}"


GONE = "no longer there"
LOOK = "changed, look"
NEW = "new, look"


def describe_change(keyword: str, was: Any, now: Any) -> str:
    """Return how the value of a keyword changed; None means that the keyword is absent."""
    if was is None:
        return f"{keyword} {json.dumps(now, ensure_ascii=False)} is new"
    if now is None:
        return f"{keyword} {json.dumps(was, ensure_ascii=False)} is gone"
    return f"{keyword} was {json.dumps(was, ensure_ascii=False)}, is {json.dumps(now, ensure_ascii=False)}"
