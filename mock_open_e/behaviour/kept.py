"""A collection of the newest items, limited by count and weight."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")


class Newest(Generic[_Thing]):
    """The newest items: at most `count`, with a total weight of at most `weight`. `weigh` returns the weight of one."""

    def __init__(self, count: int, weight: int, weigh: Callable[[_Thing], int]) -> None:
        self._count = count
        self._limit = weight
        self._weigh = weigh
        self._things: deque[_Thing] = deque()
        self._weight = 0

    def __iter__(self) -> Iterator[_Thing]:
        return iter(self._things)

    def add(self, thing: _Thing) -> list[_Thing]:
        """Add an item, and return the ones that were removed for it, oldest first."""
        self._things.append(thing)
        self._weight += self._weigh(thing)
        gone = []
        while len(self._things) > self._count or self._weight > self._limit:
            gone.append(self._things.popleft())
            self._weight -= self._weigh(gone[-1])
        return gone

    def clear(self) -> None:
        """Remove all items."""
        self._things.clear()
        self._weight = 0
