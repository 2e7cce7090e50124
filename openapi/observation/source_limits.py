"""Limit the effects of unauthenticated callers, by their network."""

import time
from collections import Counter
from collections.abc import Callable

from domain.errors import TooManyFailures, Unauthenticated
from openapi.observation.peers import compute_source

LINES_PER_SOURCE = 10
"""Maximum log lines per second about unauthenticated requests of one source."""

LINES_PER_SECOND = 30
"""Maximum log lines per second about unauthenticated requests of all sources."""


class LineLimit:
    """Limits the number of log lines per second."""

    def __init__(self, lines: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._ends = 0.0
        self._left = 0
        self._suppressed = 0

    def admit_line(self) -> int | None:
        """Return the number of lines suppressed since the last one, or None to suppress this one too."""
        now = self._clock()
        if now >= self._ends:
            self._ends, self._left = now + 1, self._lines
        if not self._left:
            self._suppressed += 1
            return None
        self._left -= 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


class SourceCounter:
    """Counts by source within one second.

    All counts are dropped when the second ends, so the memory is limited by the requests of one second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = 0.0
        self._counts: Counter[str] = Counter()

    def add(self, peer: str | None) -> int:
        """Count one more for the source of an address, and return its count."""
        now = self._clock()
        if now >= self._ends:
            self._ends = now + 1
            self._counts.clear()
        source = compute_source(peer)
        self._counts[source] += 1
        return self._counts[source]


class FailureLimit:
    """Rejects failed authentications of one source above a limit with 429. Other sources are not affected."""

    def __init__(self, failures_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures_per_second = failures_per_second
        self._counter = SourceCounter(clock)

    def count(self, error: Unauthenticated, peer: str | None) -> None:
        """Count a failed authentication. Raises `TooManyFailures` above the limit.

        A caller with valid credentials is not limited, even if other callers at its address are.
        """
        if self._counter.add(peer) > self._failures_per_second:
            raise TooManyFailures(error.reason) from error


class AnonymousLines:
    """Limits log lines about unauthenticated requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._counter = SourceCounter(clock)
        self._lines = LineLimit(LINES_PER_SECOND, clock)
        self._suppressed = 0

    def admit_line(self, peer: str | None) -> int | None:
        """Return the number of lines suppressed since the last one, or None to suppress this one too."""
        if self._counter.add(peer) > LINES_PER_SOURCE:
            self._suppressed += 1
            return None
        suppressed = self._lines.admit_line()
        if suppressed is None:
            return None
        suppressed, self._suppressed = suppressed + self._suppressed, 0
        return suppressed
