"""One difference, and the words in which a changed value is told."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Side(StrEnum):
    """Who sends what a schema describes; it decides which way a change is compatible."""

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True)
class Difference:
    """What somebody who relied on the older contract has lost, with an address that stays as the contract grows."""

    address: str
    text: str

    def __str__(self) -> str:
        return f"{self.address}: {self.text}"


GONE = "no longer there"
LOOK = "changed, look"


def told(keyword: str, was: Any, now: Any) -> str:
    """How the value of a keyword changed, `None` where it is not said."""
    if was is None:
        return f"{keyword} {json.dumps(now, ensure_ascii=False)} is new"
    if now is None:
        return f"{keyword} {json.dumps(was, ensure_ascii=False)} is gone"
    return f"{keyword} was {json.dumps(was, ensure_ascii=False)}, is {json.dumps(now, ensure_ascii=False)}"
