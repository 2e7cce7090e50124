"""Simulate a queue and receivers, to test fair delivery with a simulated clock."""

import itertools
from bisect import insort
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush

from delivery.windows import Windows
from domain.deliveries import Target
from persistence.queue.due_deliveries import DueDelivery
from tests.factories import NOW

POLL_SECONDS = 0.05
SEEN_OF_EACH = 10
"""Deliveries of each subscription that one poll sees."""

Receiver = Callable[[float], tuple[float, bool]]
"""A function that returns the duration of a call that begins at that time, and whether it succeeds."""


@dataclass
class Delivery:
    number: int
    target: Target
    subscription: int
    key: str
    accepted: float
    due: float
    attempts: int = 0
    arrived: float | None = None
    is_under_way: bool = False


@dataclass
class Simulation:
    """One worker with receivers. `most_under_way` is the largest number of concurrent calls of each target."""

    receivers: Mapping[Target, Receiver]
    windows: Windows = field(default_factory=lambda: Windows(200, 100, chance=lambda: 0.5))
    now: float = 0.0
    deliveries: list[Delivery] = field(default_factory=list)
    arrivals: dict[tuple[int, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    under_way: Counter[Target] = field(default_factory=Counter)
    most_under_way: Counter[Target] = field(default_factory=Counter)
    most: int = 0
    _lanes: dict[tuple[int, str], deque[Delivery]] = field(default_factory=lambda: defaultdict(deque))
    _waiting: dict[int, list[tuple[float, int, DueDelivery]]] = field(default_factory=lambda: defaultdict(list))
    _order: Iterator[int] = field(default_factory=itertools.count)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)

    def publish(self, target: Target, subscription: int, key: str, at: float) -> None:
        delivery = Delivery(len(self.deliveries) + 1, target, subscription, key, at, at)
        self.deliveries.append(delivery)
        self._at(at, lambda: self._accept(delivery))

    def run(self, until: float) -> None:
        poll = 0.0
        while self.now < until:
            while self._events and self._events[0][0] <= min(poll, until):
                self.now, _, happen = heappop(self._events)
                happen()
                # The worker polls again when an attempt ends, and when it is woken.
                if not self._events or self._events[0][0] > self.now:
                    self._turn()
            self.now = min(poll, until)
            self._turn()
            poll += POLL_SECONDS

    def list_latencies(self, target: Target) -> list[float]:
        """Return the latencies of the arrived deliveries of a target, in order."""
        return sorted(d.arrived - d.accepted for d in self.deliveries if d.target == target and d.arrived is not None)

    def count_waiting(self, target: Target) -> int:
        return sum(d.target == target and d.arrived is None for d in self.deliveries)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heappush(self._events, (time, next(self._order), happen))

    def _accept(self, delivery: Delivery) -> None:
        lane = self._lanes[delivery.subscription, delivery.key]
        lane.append(delivery)
        if lane[0] is delivery:
            self._wait(delivery)

    def _wait(self, delivery: Delivery) -> None:
        moment = NOW + timedelta(seconds=delivery.due)
        seen = DueDelivery(delivery.number, delivery.target, delivery.subscription, moment)
        insort(self._waiting[delivery.subscription], (delivery.due, delivery.number, seen))

    def _turn(self) -> None:
        room = self.windows.get_room(self.now)
        if not room.free:
            return
        chosen = self.windows.choose(self._look(room.full_targets), self.now)
        for seen in chosen:
            self._begin(seen)
        self.most = max(self.most, self.under_way.total())

    def _look(self, full: frozenset[Target]) -> list[DueDelivery]:
        found = []
        for waiting in self._waiting.values():
            for due, _, seen in waiting[:SEEN_OF_EACH]:
                if due > self.now or seen.target in full:
                    break
                found.append(seen)
        return found

    def _begin(self, seen: DueDelivery) -> None:
        delivery = self.deliveries[seen.number - 1]
        assert not delivery.is_under_way
        assert self._lanes[delivery.subscription, delivery.key][0] is delivery
        self._waiting[delivery.subscription].remove((delivery.due, delivery.number, seen))
        delivery.is_under_way = True
        self.windows.record_start(seen, self.now)
        self.under_way[seen.target] += 1
        self.most_under_way[seen.target] = max(self.most_under_way[seen.target], self.under_way[seen.target])
        seconds, succeeds = self.receivers[seen.target](self.now)
        self._at(self.now + seconds, lambda: self._end(delivery, succeeds=succeeds))

    def _end(self, delivery: Delivery, *, succeeds: bool) -> None:
        delivery.is_under_way = False
        self.under_way[delivery.target] -= 1
        self.windows.record_end(delivery.number, self.now, is_well=succeeds, is_done=succeeds)
        lane = self._lanes[delivery.subscription, delivery.key]
        if succeeds:
            delivery.arrived = self.now
            self.arrivals[delivery.subscription, delivery.key].append(delivery.number)
            lane.popleft()
        else:
            delivery.attempts += 1
            delivery.due = self.now + min(10_800, 2**delivery.attempts - 1)
        if lane:
            lane[0].due = max(lane[0].due, self.now) if succeeds else lane[0].due
            self._wait(lane[0])
