"""Orders for faults, as the control API of the mock Open-E takes them."""

import json
from typing import Any, NamedTuple

from open_e.mock import FAULT_NAMES, FaultName

_LONGEST_WAIT = 3600


class Order(NamedTuple):
    """A fault for the next `times` messages; `seconds` is how long `Slow` waits."""

    fault: FaultName
    times: int
    seconds: float


class WrongOrder(ValueError):
    """An order that cannot be read; `faults` are all the reasons, as sentences."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def read_order(body: bytes | bytearray) -> Order:
    """The order in a JSON body `{"fault", "times", "seconds"}`; times and seconds are 1 when absent.

    Raises WrongOrder with everything that is wrong.
    """
    try:
        order = json.loads(body)
    except (ValueError, RecursionError):
        raise WrongOrder(["the body is not JSON"]) from None
    if not isinstance(order, dict):
        raise WrongOrder(["the body is not a JSON object"])
    fault = next((name for name in FAULT_NAMES if name == order.get("fault")), None)
    times, seconds = order.get("times", 1), order.get("seconds", 1)
    faults = [f"unknown field {name!r}" for name in sorted(order.keys() - {"fault", "times", "seconds"})]
    if fault is None:
        faults.append(f"fault must be one of {', '.join(FAULT_NAMES)}")
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        faults.append("times must be a positive integer")
    if not _is_wait(seconds):
        faults.append(f"seconds must be a number from 0 to {_LONGEST_WAIT}")
    if fault is None or faults:
        raise WrongOrder(faults)
    return Order(fault, times, seconds)


def _is_wait(seconds: Any) -> bool:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and 0 <= seconds <= _LONGEST_WAIT
