"""Metrics of calls to Open-E, from a service in its own process."""

from prometheus_client.parser import text_string_to_metric_families

from open_e.metrics import OUTCOMES
from tests.budkavle.services import put_key, running_program
from tests.factories import build_case_body
from tests.held_open_e import held_open_e


def test_get_metrics_counts_calls_to_open_e_by_outcome(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with held_open_e() as held:
        held.release_calls()
        with running_program(sqlite_url, open_e_external_url=held.url) as service:
            for fault in (None, "NoDetail", "AccessDenied", "FlowInstanceNotFound"):
                if fault is not None:
                    held.mock.fail(fault)
                service.client.post("/webmessages", json=build_case_body())
            text = service.client.get("/metrics").text
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    counted = {each: found["budkavle_open_e_calls_total", "external", each] for each in OUTCOMES}
    assert counted == {"published": 1, "not_found": 1, "refused": 1, "unavailable": 0, "unknown": 1}
    # A rate needs a value before the first failure.
    assert [found["budkavle_open_e_calls_total", "internal", each] for each in OUTCOMES] == [0] * 5
    assert found["budkavle_open_e_call_seconds_count", "external"] == 4
    assert found["budkavle_messages_in_doubt", "unknown"] == 1
