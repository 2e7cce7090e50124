"""Ordered faults: which calls fail, how, and how often."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, get_args

from mock_open_e.behaviour.operation_table import SHAPES

Instance = Literal["external", "internal"]
INSTANCES: tuple[Instance, ...] = get_args(Instance)
"""The Open-E of the citizens and that of the staff."""

FaultName = Literal[
    "FlowInstanceNotFound",
    "AccessDenied",
    "NoDetail",
    "Http500",
    "Slow",
    "Reset",
    "AcceptedAnswerLost",
    "Garbage",
    "Http401",
    "Http403",
    "Http404",
    "TruncatedXml",
    "SlowBytes",
    "WrongCharset",
    "Http200Fault",
    "DatabaseTooLong",
]
FAULT_NAMES: tuple[FaultName, ...] = get_args(FaultName)

STORING: frozenset[FaultName] = frozenset(
    {"Slow", "Garbage", "AcceptedAnswerLost", "TruncatedXml", "SlowBytes", "WrongCharset"}
)
"""Faults that occur after the work: the message is stored, and only its response is lost or damaged."""


READING = "messageapi"
"""The operation name for all calls of the messageapi in an order."""

OPERATION_NAMES = (*SHAPES, READING)
"""The operations that an order can contain."""


def is_integer(value: Any) -> bool:
    """Return whether the value is an integer. True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Order:
    """A fault for calls that would otherwise be accepted.

    The first `times` calls receive it (None: all), or with `every` each nth of them. Only calls with this `operation`,
    `case` and `instance` count; None matches any. Calls of the messageapi count only for orders with that operation.
    `seconds` is the delay of `Slow`, and the duration of the whole response of `SlowBytes`.
    """

    fault: FaultName
    times: int | None = 1
    seconds: float = 1.0
    every: int = 1
    operation: str | None = None
    case: int | None = None
    instance: Instance | None = None

    def __post_init__(self) -> None:
        faults = list(self._find_faults())
        if faults:
            raise ValueError("invalid fault order: " + "; ".join(faults))

    def _find_faults(self) -> Iterator[str]:
        if self.fault not in FAULT_NAMES:
            yield f"fault must be one of {', '.join(FAULT_NAMES)}, not {self.fault!r}"
        if self.times is not None and not (is_integer(self.times) and self.times >= 1):
            yield f"times must be an integer of at least 1, or None for all calls, not {self.times!r}"
        is_number = isinstance(self.seconds, float) or is_integer(self.seconds)
        if not (is_number and self.seconds >= 0):
            yield f"seconds must be a number of at least 0, not {self.seconds!r}"
        if not (is_integer(self.every) and self.every >= 1):
            yield f"every must be an integer of at least 1, not {self.every!r}"
        if self.operation is not None and self.operation not in OPERATION_NAMES:
            yield f"operation must be one of {', '.join(OPERATION_NAMES)}, or None for any, not {self.operation!r}"
        if self.case is not None and not is_integer(self.case):
            yield f"case must be an integer, or None for any, not {self.case!r}"
        if self.instance is not None and self.instance not in INSTANCES:
            yield f"instance must be one of {', '.join(INSTANCES)}, or None for both, not {self.instance!r}"

    def applies_to(self, instance: Instance, operation: str, case: int | None) -> bool:
        """Return whether the order applies to a call."""
        return (
            self.instance in {None, instance}
            and (operation == self.operation or (self.operation is None and operation != READING))
            and (self.case is None or self.case == case)
        )


@dataclass(frozen=True, slots=True)
class OrderedFault:
    """A pending order: its number, its remaining part, and the number of calls that have failed."""

    number: int
    order: Order
    failed: int


@dataclass(slots=True)
class _Pending:
    number: int
    order: Order
    matched: int = 0
    failed: int = 0


class Orders:
    """The pending orders, in the sequence in which they were given. Not thread-safe."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._numbers = count(1)
        self._pending = [_Pending(next(self._numbers), order) for order in orders]

    def add(self, order: Order) -> int:
        """Append an order and return its number."""
        self._pending.append(_Pending(next(self._numbers), order))
        return self._pending[-1].number

    def remove(self, number: int) -> None:
        """Remove one order. Raises LookupError if it is not pending."""
        pending = next((each for each in self._pending if each.number == number), None)
        if pending is None:
            raise LookupError(f"there is no ordered fault {number}, or it is used up")
        self._pending.remove(pending)

    def clear(self) -> None:
        """Remove all orders."""
        self._pending.clear()

    def list_remaining(self) -> list[OrderedFault]:
        """Return the pending orders, with the remaining number of `times`."""
        return [
            OrderedFault(
                each.number,
                replace(each.order, times=None if each.order.times is None else each.order.times - each.failed),
                each.failed,
            )
            for each in self._pending
        ]

    def find_due(self, instance: Instance, operation: str, case: int | None) -> Order | None:
        """Return the first order that applies to a call and is due, or None. Later orders do not count the call."""
        for each in self._pending:
            if not each.order.applies_to(instance, operation, case):
                continue
            each.matched += 1
            if each.matched % each.order.every:
                continue
            each.failed += 1
            if each.failed == each.order.times:
                self._pending.remove(each)
            return each.order
        return None
