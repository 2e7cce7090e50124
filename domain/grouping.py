"""Group items for transactions of bounded size."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def split_by_size(items: Iterable[tuple[T, int]], most: int, most_bytes: int) -> list[list[T]]:
    """Return items, each given with its bytes, in groups of at most `most` items and `most_bytes`.

    A larger item is a group of its own.
    """
    groups: list[list[T]] = []
    total = 0
    for item, size in items:
        if not groups or len(groups[-1]) == most or total + size > most_bytes:
            groups.append([])
            total = 0
        groups[-1].append(item)
        total += size
    return groups
