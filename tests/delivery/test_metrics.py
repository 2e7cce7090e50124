"""Metrics of the worker."""

from domain.deliveries import AttemptOutcome, Reason, ReceiverResponse, decide_outcome
from tests.processes import python, run_program

STATUSES = (200, 302, 404, 429, 503)
PRINT = """
import prometheus_client, delivery.metrics
for family in prometheus_client.REGISTRY.collect():
    for sample in family.samples:
        if sample.name == "budkavle_delivery_attempts_total":
            print(sample.labels["outcome"], sample.labels["answer"])
"""


def test_attempts_have_all_series_from_the_start() -> None:
    """A rate does not show the first failure of a series that begins with it."""
    reasons = [reason for reason in Reason if reason is not Reason.HTTP]
    responses = {f"{status // 100}xx {status}": ReceiverResponse(status, Reason.HTTP) for status in STATUSES}
    responses |= {str(reason): ReceiverResponse(None, reason) for reason in reasons}
    expected = {f"{decide_outcome(response)} {name.split()[0]}" for name, response in responses.items()}
    found = set(run_program(*python(PRINT)).stdout.splitlines())
    assert expected <= found
    assert {series.split()[0] for series in found} == set(AttemptOutcome)
