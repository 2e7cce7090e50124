"""What is kept of many things: the newest, within a count and a weight."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")


class Newest(Generic[_Thing]):
    """The newest things, at most `count` of them, together at most of a `weight` that `weigh` tells of each."""

    def __init__(self, count: int, weight: int, weigh: Callable[[_Thing], int]) -> None:
        self._count = count
        self._limit = weight
        self._weigh = weigh
        self._things: deque[_Thing] = deque()
        self._weight = 0

    def __iter__(self) -> Iterator[_Thing]:
        return iter(self._things)

    def add(self, thing: _Thing) -> list[_Thing]:
        """Takes one more; gives those that went for it, the oldest first."""
        self._things.append(thing)
        self._weight += self._weigh(thing)
        gone = []
        while len(self._things) > self._count or self._weight > self._limit:
            gone.append(self._things.popleft())
            self._weight -= self._weigh(gone[-1])
        return gone

    def clear(self) -> None:
        """Forgets all of them."""
        self._things.clear()
        self._weight = 0
