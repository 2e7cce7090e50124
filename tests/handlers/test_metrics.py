"""`/metrics`, as Prometheus reads it."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from conftest import RunningService, running_service
from domain.deliveries import Outcome
from persistence import queue
from persistence.database import Database
from tests.databases import with_database
from tests.handlers.answers import unique_id, violations
from tests.held_open_e import closed_port
from tests.persistence.catalogues import SYSTEM_IDS, entry, prepare, sync
from tests.persistence.queues import claim, lease, publish, settled

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(response: httpx.Response) -> Samples:
    """The samples of an answer, by name and labels."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_get_metrics_tells_of_the_queue(database_url: str) -> None:
    async def put(database: Database) -> None:
        await prepare(database)
        await sync(database, [entry()])
        for _ in range(3):
            await publish(database)
        first, *_ = await claim(database)
        await queue.settle(database, lease(), [settled(first, Outcome.PARK)])

    with_database(database_url, put)
    with running_service(database_url=database_url) as service:
        found = samples(service.client.get("/metrics"))
    assert value(found, "budkavle_database_up") == 1
    system, other = SYSTEM_IDS[:2]
    assert value(found, "budkavle_queue_deliveries", system=system, state="waiting") == 2
    assert value(found, "budkavle_queue_deliveries", system=system, state="parked") == 1
    # They were published long ago, and nobody takes them.
    assert value(found, "budkavle_queue_oldest_waiting_seconds", system=system) > 60
    assert value(found, "budkavle_queue_overdue_deliveries", system=system) == 2
    assert found["budkavle_queue_oldest_waiting_seconds", frozenset({("system", other)})] == 0
    assert found["budkavle_queue_overdue_deliveries", frozenset({("system", other)})] == 0


def test_get_metrics_tells_what_it_knows_when_the_database_does_not_answer() -> None:
    with (
        closed_port() as port,
        running_service(database_url=f"postgresql://user:secret@127.0.0.1:{port}/db") as service,
    ):
        service.client.get("/health/live")
        found = samples(service.client.get("/metrics"))
    assert found["budkavle_database_up", frozenset()] == 0
    assert not any(name.startswith("budkavle_queue") for name, _ in found)
    assert value(found, "budkavle_requests_total", operation="get_health_live", status="200") >= 1


def test_get_metrics_counts_requests_by_operation_and_status(contract: RunningService) -> None:
    def counted(found: Samples, status: str) -> float:
        return value(found, "budkavle_requests_total", operation="get_web_message_by_id", status=status)

    def timed(found: Samples) -> float:
        return value(found, "budkavle_request_duration_seconds_count", operation="get_web_message_by_id")

    before = samples(contract.client.get("/metrics"))
    assert contract.client.get(f"/webmessages/{unique_id()}").status_code == 404
    for _ in range(2):
        assert contract.client.get("/webmessages/x").status_code == 400
    after = samples(contract.client.get("/metrics"))
    assert counted(after, "404") - counted(before, "404") == 1
    assert counted(after, "400") - counted(before, "400") == 2
    assert timed(after) - timed(before) == 3


def test_what_callers_make_up_makes_no_labels(contract: RunningService) -> None:
    contract.client.get("/metrics")
    contract.client.get("/nothing")
    contract.client.put("/metrics")
    before = samples(contract.client.get("/metrics"))
    for number in range(20):
        assert contract.client.get(f"/nothing/{number}").status_code == 404
        assert contract.client.put(f"/metrics?number={number}").status_code == 405
    after = samples(contract.client.get("/metrics"))
    assert set(after) == set(before)
    none = {"operation": "none", "status": "404"}
    assert value(after, "budkavle_requests_total", **none) - value(before, "budkavle_requests_total", **none) == 20


def test_get_metrics_takes_no_parameters(contract: RunningService) -> None:
    assert violations(contract.client.get("/metrics?name=x")) == [
        ("getMetrics.name", "not a parameter of this operation")
    ]
