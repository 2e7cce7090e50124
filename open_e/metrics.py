"""Metrics of calls to Open-E, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

from domain.web_messages import OepInstance

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
_paused = Gauge("budkavle_open_e_paused", "1 while calls to an Open-E pause.", ("open_e",), multiprocess_mode="livemax")

# Create all series at start. Alert rules compare rates, and a series that begins at its first failure would hide it.
for _instance in OepInstance:
    _durations.labels(str(_instance))
    _paused.labels(str(_instance))
    for _outcome in OUTCOMES:
        _calls.labels(str(_instance), _outcome)
    for _outcome in READ_BACK_OUTCOMES:
        _read_backs.labels(str(_instance), _outcome)


def count_call(instance: OepInstance, outcome: str, seconds: float) -> None:
    """Count a call that has ended."""
    _calls.labels(str(instance), outcome).inc()
    _durations.labels(str(instance)).observe(seconds)


def count_read_back(instance: OepInstance, outcome: str) -> None:
    """Count a request for the messages of a case that has ended."""
    _read_backs.labels(str(instance), outcome).inc()


def set_paused(instance: OepInstance, *, is_paused: bool) -> None:
    """Set whether calls to an instance pause."""
    _paused.labels(str(instance)).set(is_paused)
