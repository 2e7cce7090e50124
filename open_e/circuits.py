"""A circuit breaker for an Open-E that does not answer: callers do not wait for it, and no messages get into doubt."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.errors import CircuitOpen


class Circuit:
    """Decides whether a call to one Open-E instance may begin.

    After `threshold` calls in a row without an answer, the circuit opens: calls are refused. Every `seconds`, one call
    is allowed as a probe; any answer, also a fault, closes the circuit.
    """

    def __init__(self, *, threshold: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._seconds = seconds
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0
        self._has_probe = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused."""
        return self._failures >= self._threshold

    def check(self) -> None:
        """Raise `CircuitOpen` if a call would be refused now."""
        if self.is_open and (self._has_probe or self._clock() < self._next_probe):
            raise CircuitOpen

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Run a call. In an open circuit it is the probe: others are refused until its end. Raises `CircuitOpen`."""
        self.check()
        is_probe = self.is_open
        self._has_probe |= is_probe
        try:
            yield
        finally:
            self._has_probe &= not is_probe

    def note_answer(self) -> None:
        """Close the circuit."""
        self._failures = 0

    def note_silence(self) -> None:
        """Count a call without an answer."""
        self._failures += 1
        self._next_probe = self._clock() + self._seconds
