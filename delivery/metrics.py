"""Prometheus metrics of the worker."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from domain.deliveries import AttemptOutcome, Reason, ReceiverResponse, decide_outcome

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15)
_LATENCIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 300, 3600, 86400)

_attempts = Counter("budkavle_delivery_attempts", "Finished attempts, by outcome.", ("outcome", "answer"))
_durations = Histogram("budkavle_delivery_attempt_seconds", "Duration of attempts in seconds.", buckets=_SECONDS)
_latencies = Histogram(
    "budkavle_delivery_latency_seconds",
    "Time from the acceptance of an event to its arrival, in seconds.",
    buckets=_LATENCIES,
)
_under_way = Gauge(
    "budkavle_delivery_attempts_under_way", "Attempts under way in this process.", multiprocess_mode="livesum"
)

_backing_off = Gauge(
    "budkavle_delivery_targets_backing_off",
    "Targets in back-off in this process, by system.",
    ("system",),
    multiprocess_mode="livesum",
)

# Create all series at start. Alert rules compare rates, and a series that begins at its first failure would hide it.
for _reason in Reason:
    if _reason is not Reason.HTTP:
        _attempts.labels(str(decide_outcome(ReceiverResponse(None, _reason))), str(_reason))
for _status in range(200, 600):
    _attempts.labels(str(decide_outcome(ReceiverResponse(_status, Reason.HTTP))), f"{_status // 100}xx")


def count_attempt(answer: ReceiverResponse, outcome: AttemptOutcome, seconds: float, latency: float) -> None:
    """Count a finished attempt. `latency` is the age of its event in seconds."""
    result = (
        str(answer.reason) if answer.status is None or answer.reason is Reason.TOKEN else f"{answer.status // 100}xx"
    )
    _attempts.labels(str(outcome), result).inc()
    _durations.observe(seconds)
    if outcome is AttemptOutcome.DONE:
        _latencies.observe(max(0.0, latency))


def set_under_way(number: int) -> None:
    """Set the number of attempts that are running."""
    _under_way.set(number)


def set_backing_off(by_system: Mapping[str, int]) -> None:
    """Set the number of targets in back-off per system. Systems that are missing in the argument have none."""
    # Several processes share files of metrics, which cannot remove a series.
    _backing_off_systems.update(by_system)
    for system_id in _backing_off_systems:
        _backing_off.labels(system_id).set(by_system.get(system_id, 0))


_backing_off_systems: set[str] = set()
