"""Metrics of calls to Open-E, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from domain.web_messages import OepInstance, OpenEName

PUBLISHED, NOT_FOUND, REFUSED, UNAVAILABLE, UNKNOWN = "published", "not_found", "refused", "unavailable", "unknown"
OUTCOMES = (PUBLISHED, NOT_FOUND, REFUSED, UNAVAILABLE, UNKNOWN)

ANSWERED, FAILED = "answered", "failed"
READ_BACK_OUTCOMES = (ANSWERED, FAILED)

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)

_calls = Counter("budkavle_open_e_calls", "Calls to Open-E by outcome.", ("open_e", "outcome"))
_durations = Histogram(
    "budkavle_open_e_call_seconds", "Duration of calls to Open-E in seconds.", ("open_e",), buckets=_SECONDS
)
_read_backs = Counter(
    "budkavle_open_e_read_backs", "Requests for the messages of a case by outcome.", ("open_e", "outcome")
)
_open_circuit = Gauge(
    "budkavle_open_e_paused",
    "1 while calls to an Open-E are refused, since it does not answer.",
    ("open_e",),
    multiprocess_mode="livemax",
)


def create_series(names: Iterable[OpenEName]) -> None:
    """Create all series. Alert rules compare rates, and a series that begins at its first failure would hide it."""
    for name in map(str, names):
        _durations.labels(name)
        _open_circuit.labels(name)
        for outcome in OUTCOMES:
            _calls.labels(name, outcome)
        for outcome in READ_BACK_OUTCOMES:
            _read_backs.labels(name, outcome)


create_series(OepInstance)


def count_call(open_e: OpenEName, outcome: str, seconds: float) -> None:
    """Count a call that has ended."""
    _calls.labels(str(open_e), outcome).inc()
    _durations.labels(str(open_e)).observe(seconds)


def count_read_back(open_e: OpenEName, outcome: str) -> None:
    """Count a request for the messages of a case that has ended."""
    _read_backs.labels(str(open_e), outcome).inc()


def set_circuit(open_e: OpenEName, *, is_open: bool) -> None:
    """Set whether the circuit of an Open-E is open, so that calls are refused."""
    _open_circuit.labels(str(open_e)).set(is_open)
