"""A collection of the newest items, limited by count and weight."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Newest(Generic[_Item]):
    """The newest items: at most `count`, with a total weight of at most `weight`. `weigh` weighs one item."""

    def __init__(self, count: int, weight: int, weigh: Callable[[_Item], int]) -> None:
        self._count = count
        self._limit = weight
        self._weigh = weigh
        self._items: deque[_Item] = deque()
        self._weight = 0

    def __iter__(self) -> Iterator[_Item]:
        return iter(self._items)

    def add(self, item: _Item) -> list[_Item]:
        """Add an item. Return the items that were removed to meet the limits, oldest first."""
        self._items.append(item)
        self._weight += self._weigh(item)
        removed = []
        while len(self._items) > self._count or self._weight > self._limit:
            removed.append(self._items.popleft())
            self._weight -= self._weigh(removed[-1])
        return removed

    def clear(self) -> None:
        """Remove all items."""
        self._items.clear()
        self._weight = 0
