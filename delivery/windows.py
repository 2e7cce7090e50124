"""Decide which deliveries a worker starts: the rule of fair delivery.

A target is a system and a webhookUrl. Each call occupies one slot of the worker. A free slot goes to the system with
the fewest running calls, within it to the target with the fewest, within that to the subscription with the fewest, and
there to the delivery that has been due for longest. Ties are resolved in favour of the least recently served.

The concurrency limit of a target starts at 10. It rises by one for each response within a second, falls by one (down to
10) for each slower response, and is halved for each failure, down to 1. After two consecutive failures (calls that ran
at the same time count once) a target backs off: one call at a time, with delays of 1, 3, 7, ... up to 60 seconds, until
a call succeeds. No call starts before the end of a delay that the receiver requested with `Retry-After`.

Targets that are unhealthy (failed last) or unknown use at most half of the slots of their system and half of those of
the worker together (three quarters including the first calls of unknown targets). No system uses more than 49 times as
many slots as are free in the worker, and no target more than 49 times as many as its system has left. A target that
hangs or fails therefore slows down only itself, and a healthy one finds a slot at once. Replayed deliveries ignore
back-off and requested delays, and test messages have some slots of their own, one per target.
"""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import Any

from domain.deliveries import Target, Urgency
from persistence.queue.due_deliveries import Capacity, DueDelivery

FIRST = 10
"""Initial concurrency limit of an unknown target."""

QUICK_SECONDS = 1.0
"""The limit of a target rises only after responses within this time."""

FREE_FACTOR = 49
"""A system, or a target within its system, may use at most this multiple of the free slots."""

SICK_PART = 0.5
"""Maximum share of the slots of a system and of the worker for targets that failed last or are unknown."""

FIRST_CALLS_PART = 0.75
"""The same maximum for the first call of an unknown target."""

FAILURES_BEFORE_BACK_OFF = 2
LONGEST_BACK_OFF = 60.0
JITTER = 0.1

FORGOTTEN_AFTER = 300.0
"""Seconds without calls after which a target becomes unknown."""

NEVER = float("-inf")

HAS_TEST_SLOTS: dict[int | None, bool] = {None: False, Urgency.REPLAY: False, Urgency.TEST: True}
"""Whether a delivery may use the slots for test messages, by urgency. All urgent ones ignore back-off."""


@dataclass(slots=True)
class _Target:
    """The state of a target in this worker. Times are seconds of the worker's clock."""

    limit: int
    used: int = 0
    tests: int = 0
    is_well: bool = False
    failures: int = 0
    failed: float = NEVER
    until: float = NEVER
    touched: float = NEVER
    served: int = 0
    is_recovering: bool = True
    """The next success is the first after an outage, or the first that this worker sees."""
    used_of: Counter[int] = field(default_factory=Counter)
    served_of: dict[int, int] = field(default_factory=dict)

    def compute_allowed(self) -> int:
        return 1 if self.failures >= FAILURES_BEFORE_BACK_OFF else self.limit

    def is_active(self, now: float) -> bool:
        return bool(self.used or self.tests) or self.until > now


@dataclass(frozen=True, slots=True)
class _Call:
    target: Target
    subscription: int
    began: float
    is_test: bool


@dataclass(slots=True)
class _Slots:
    """The slots for all deliveries except test messages, and their use. `turn` counts the calls.

    `targets` are in the order of their last calls. `active` are those with running calls or in back-off, so that a look
    costs the same for any number of known targets.
    """

    total: int
    per_system: int
    targets: OrderedDict[Target, _Target] = field(default_factory=OrderedDict)
    active: dict[Target, _Target] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    served: dict[str, int] = field(default_factory=dict)
    turn: int = 0


class Windows:
    """The slots of one worker: `total` in all, at most `per_system` for one system."""

    def __init__(self, total: int, per_system: int, *, chance: Callable[[], float] = random.random) -> None:
        self._test_slots = max(1, total // 50)
        ordinary = max(1, total - self._test_slots)
        self._slots = _Slots(ordinary, min(per_system, ordinary))
        self._chance = chance
        self._calls: dict[int, _Call] = {}
        self._tests = 0

    def get_room(self, now: float) -> Capacity:
        """Return how many deliveries can start now, and for which targets and systems none can."""
        self._forget(now)
        full = {target for target, state in self._slots.active.items() if self._is_closed(state, now)}
        full_systems = {system for system, used in self._slots.used.items() if used >= self._slots.per_system}
        free = max(0, self._slots.total - self._slots.used.total())
        return Capacity(free, min(free, self._slots.per_system), frozenset(full_systems), frozenset(full))

    def choose(self, found: Iterable[DueDelivery], now: float) -> list[DueDelivery]:
        """Return the deliveries to start, in order."""
        tests, waiting = self._sort(found, now)
        plan = _Plan(self._slots)
        chosen = tests
        systems = [(self._slots.used[system], self._slots.served.get(system, 0), system) for system in waiting]
        heapify(systems)
        queues = {system: _SystemQueue(self._slots, targets) for system, targets in waiting.items()}
        while systems and plan.free > 0:
            _, _, system = heappop(systems)
            if not plan.may_start_in(system):
                continue
            seen = queues[system].pop(plan)
            if seen is not None:
                chosen.append(seen)
                plan.start(seen)
                heappush(systems, (plan.used[system], plan.turn, system))
        return chosen

    def record_start(self, seen: DueDelivery, now: float, *, is_test: bool = False) -> None:
        """Record the start of a call. `is_test` is true if it occupies a slot for test messages."""
        state = self._get_or_add_target(seen.target)
        self._slots.turn += 1
        self._slots.active[seen.target] = state
        self._touch(seen.target, state, now)
        self._calls[seen.number] = _Call(seen.target, seen.subscription_id, now, is_test)
        if is_test:
            self._tests += 1
            state.tests += 1
            return
        state.used += 1
        state.used_of[seen.subscription_id] += 1
        state.served = state.served_of[seen.subscription_id] = self._slots.served[seen.target.system_id] = (
            self._slots.turn
        )
        self._slots.used[seen.target.system_id] += 1

    def record_end(self, number: int, now: float, *, is_well: bool, is_done: bool = False) -> bool:
        """Record the end of a call. `is_well`: the receiver works; `is_done`: it accepted the delivery.

        Return whether the target has recovered, so that its waiting deliveries can be retried.
        """
        call = self._calls.pop(number)
        state = self._slots.targets[call.target]
        self._touch(call.target, state, now)
        if call.is_test:
            self._tests -= 1
            state.tests -= 1
        else:
            state.used -= 1
            _decrease_count(state.used_of, call.subscription)
            _decrease_count(self._slots.used, call.target.system_id)
        if not is_well:
            self._fail(state, call, now)
            return False
        state.is_well = True
        state.failures = 0
        state.until = NEVER
        if now - call.began < QUICK_SECONDS:
            state.limit = min(self._slots.per_system, state.limit + 1)
        elif state.limit > FIRST:
            state.limit -= 1
        has_recovered = state.is_recovering and is_done
        state.is_recovering = state.is_recovering and not is_done
        return has_recovered

    def has_test_slot(self, seen: DueDelivery) -> bool:
        """Return whether a test message can use one of the slots for test messages."""
        state = self._slots.targets.get(seen.target)
        may_use = HAS_TEST_SLOTS.get(seen.urgency, False)
        return may_use and self._tests < self._test_slots and (state is None or state.tests == 0)

    def count_backing_off(self, now: float) -> Counter[str]:
        """Return the number of targets in back-off per system."""
        return Counter(target.system_id for target, state in self._slots.active.items() if state.until > now)

    def _fail(self, state: _Target, call: _Call, now: float) -> None:
        state.is_well = False
        state.limit = max(1, state.limit // 2)
        if call.began < state.failed:
            return
        state.failures += 1
        state.failed = now
        if state.failures >= FAILURES_BEFORE_BACK_OFF:
            state.is_recovering = True
            delay = min(LONGEST_BACK_OFF, 2.0 ** min(state.failures - 1, 30) - 1)
            state.until = now + delay * (1 + JITTER * (2 * self._chance() - 1))

    def _get_or_add_target(self, target: Target) -> _Target:
        known = self._slots.targets.get(target)
        if known is None:
            known = self._slots.targets[target] = _Target(min(FIRST, self._slots.per_system))
        return known

    def _is_closed(self, state: _Target, now: float) -> bool:
        return state.used >= state.compute_allowed() or state.until > now

    def _touch(self, target: Target, state: _Target, now: float) -> None:
        state.touched = now
        self._slots.targets.move_to_end(target)

    def _forget(self, now: float) -> None:
        active = self._slots.active
        for target in [each for each, state in active.items() if not state.is_active(now)]:
            del active[target]
        old = takewhile(lambda item: now - item[1].touched > FORGOTTEN_AFTER, self._slots.targets.items())
        idle = [target for target, _ in old if target not in active]
        for target in idle:
            del self._slots.targets[target]
        for system in self._slots.served.keys() - {target.system_id for target in self._slots.targets} if idle else ():
            del self._slots.served[system]

    def _sort(
        self, found: Iterable[DueDelivery], now: float
    ) -> tuple[list[DueDelivery], dict[str, dict[Target, "_Queues"]]]:
        """Return test messages with a slot, and all other eligible deliveries by system, target and subscription."""
        tests: list[DueDelivery] = []
        waiting: dict[str, dict[Target, _Queues]] = defaultdict(dict)
        with_test: set[Target] = set()
        for seen in sorted(found, key=lambda each: (-(each.urgency or 0), each.due, each.number)):
            if seen.is_behind:
                continue
            has_slot = len(tests) + self._tests < self._test_slots and seen.target not in with_test
            if has_slot and self.has_test_slot(seen):
                tests.append(seen)
                with_test.add(seen.target)
                continue
            if not seen.urgency:
                state = self._slots.targets.get(seen.target)
                if seen.is_delayed or (state is not None and state.until > now):
                    continue
            queues = waiting[seen.target.system_id].setdefault(seen.target, {})
            queues.setdefault(seen.subscription_id, deque()).append(seen)
        return tests, waiting


_Queues = dict[int, deque[DueDelivery]]


class _Plan:
    """The running calls plus the deliveries chosen so far."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self.used = Counter(slots.used)
        self.free = slots.total - self.used.total()
        self.turn = slots.turn
        self._used_by_sick: Counter[str] = Counter()
        for target, known in slots.active.items():
            if known.used and not known.is_well:
                self._used_by_sick[target.system_id] += known.used
        self._sick = self._used_by_sick.total()

    def may_start_in(self, system: str) -> bool:
        used = self.used[system]
        return used < max(1, min(self._slots.per_system, FREE_FACTOR * self.free))

    def may_start(self, target: Target, state: _Target | None, used: int) -> bool:
        slots, used_by_system = self._slots, self.used[target.system_id]
        # The number of calls that the system may start in addition, under both of its limits.
        available = min(
            slots.per_system - used_by_system, (FREE_FACTOR * self.free - used_by_system) // (FREE_FACTOR + 1)
        )
        allowed = min(FIRST, slots.per_system) if state is None else state.compute_allowed()
        if used >= max(1, min(allowed, FREE_FACTOR * available)):
            return False
        if state is not None and state.is_well:
            return True
        # The first calls of unknown targets take precedence over further calls.
        is_first = not used and (state is None or (state.failed == NEVER and not state.used))
        part = FIRST_CALLS_PART if is_first else SICK_PART
        is_within_system = self._used_by_sick[target.system_id] < max(1, part * slots.per_system)
        return is_within_system and self._sick < max(1, part * slots.total)

    def start(self, seen: DueDelivery) -> None:
        system = seen.target.system_id
        self.used[system] += 1
        self.free -= 1
        self.turn += 1
        state = self._slots.targets.get(seen.target)
        if state is None or not state.is_well:
            self._used_by_sick[system] += 1
            self._sick += 1


class _SystemQueue:
    """Eligible deliveries of one system, by target and subscription."""

    def __init__(self, slots: _Slots, targets: dict[Target, _Queues]) -> None:
        self._slots = slots
        self._targets = targets
        self._heap = []
        self._subscriptions: dict[Target, list[tuple[int, int, object, int, int]]] = {}
        for target, queues in targets.items():
            known = slots.targets.get(target)
            used, served = (0, 0) if known is None else (known.used, known.served)
            self._heap.append((used, served, target))
            self._subscriptions[target] = [self._build_entry(known, id_, queue) for id_, queue in queues.items()]
            heapify(self._subscriptions[target])
        heapify(self._heap)

    def pop(self, plan: _Plan) -> DueDelivery | None:
        """Return the next delivery of the system that may start, or None."""
        while self._heap:
            used, _, target = heappop(self._heap)
            subscriptions = self._subscriptions[target]
            state = self._slots.targets.get(target)
            if not subscriptions or not plan.may_start(target, state, used):
                # Skip the target for the rest of the plan: slots only become fewer while it is made.
                continue
            used_of, _, _, _, id_ = heappop(subscriptions)
            queue = self._targets[target][id_]
            seen = queue.popleft()
            if queue:
                heappush(subscriptions, (used_of + 1, plan.turn + 1, queue[0].due, queue[0].number, id_))
            heappush(self._heap, (used + 1, plan.turn + 1, target))
            return seen
        return None

    @staticmethod
    def _build_entry(state: _Target | None, id_: int, queue: deque[DueDelivery]) -> tuple[int, int, object, int, int]:
        used, served = (0, 0) if state is None else (state.used_of[id_], state.served_of.get(id_, 0))
        return used, served, queue[0].due, queue[0].number, id_


def _decrease_count(counts: Counter[Any], key: str | int) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
