"""How many calls a receiver gets at once: more while it answers well, half as many whenever it fails.

So receivers that are dead or slow soon hold one call each, and the others have the rest of the worker.
"""

from persistence.queue import Room

FIRST = 10
"""Calls at once of a receiver of which nothing is known yet."""

QUICK_SECONDS = 1.0
"""A receiver that takes longer than this gets no more calls at once than it has."""


class Windows:
    """The limits of all receivers, by system; none has more than `most` calls at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._first = min(FIRST, most)
        self._limits: dict[str, int] = {}
        self._under_way: dict[str, int] = {}

    def room(self, free: int) -> Room:
        """What can be started now by a worker that has so much free."""
        known = self._limits.keys() | self._under_way.keys()
        of = {id_: max(0, self._limit(id_) - self._under_way.get(id_, 0)) for id_ in known}
        return Room(free, self._first, of)

    def began(self, system_id: str) -> None:
        """A call to this system began."""
        self._under_way[system_id] = self._under_way.get(system_id, 0) + 1

    def ended(self, system_id: str, seconds: float, *, is_well: bool) -> None:
        """A call ended, after so many seconds; `is_well` says that the receiver answered as one that works."""
        left = self._under_way.pop(system_id) - 1
        if left:
            self._under_way[system_id] = left
        limit = self._limit(system_id)
        if not is_well:
            limit = max(1, limit // 2)
        elif seconds < QUICK_SECONDS:
            limit = min(self._most, limit + 1)
        self._limits[system_id] = limit

    def _limit(self, system_id: str) -> int:
        return self._limits.get(system_id, self._first)
