"""`/metrics` in the format of Prometheus."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import RunningService, running_service
from domain.audit import AuditEntry
from domain.deliveries import AttemptOutcome, DeliveryState
from domain.web_messages import ExternalReference
from handlers import metrics
from handlers.metrics import QueueWatch
from persistence import delivery_pauses, publication_decisions, web_messages
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.opening import open_database
from persistence.queue import claims
from tests.databases import run_with_database
from tests.factories import NOW, build_web_message
from tests.handlers.messages import create_id, read_violations
from tests.held_open_e import closed_port
from tests.persistence.catalogues import SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.queues import build_lease, build_settled, claim, publish

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_samples(response: httpx.Response) -> Samples:
    """Return the samples of a response by name and labels."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def get_value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def scrape_with_queue(service: RunningService) -> Samples:
    """Return the samples of the first scrape with figures of the queue, which are counted in the background."""
    while True:
        found = parse_samples(service.client.get("/metrics"))
        if ("budkavle_queue_age_seconds", frozenset()) in found:
            return found


def test_get_metrics_reports_the_queue(database_url: str) -> None:
    async def put(database: Database) -> None:
        await prepare(database)
        await sync(database, [build_entry()])
        for _ in range(3):
            await publish(database)
        first, *_ = await claim(database)
        await claims.settle(database, build_lease(), [build_settled(first, AttemptOutcome.PARK)])
        await sync(database, [build_entry(org_code=102)], SYSTEM_IDS[2])
        await publish(database, org_code=102)
        command = Command(SYSTEM_IDS[2], None, "operator", NOW, "request", create_id())
        await delivery_pauses.pause(database, command, None)

    run_with_database(database_url, put)
    with running_service(database_url=database_url) as service:
        found = scrape_with_queue(service)
    assert get_value(found, "budkavle_database_up") == 1
    assert 0 <= get_value(found, "budkavle_queue_age_seconds") < 60
    has_dead_rows = ("budkavle_queue_dead_rows", frozenset[tuple[str, str]]()) in found
    assert has_dead_rows == database_url.startswith("postgresql")
    system, other = SYSTEM_IDS[:2]
    labels = {state: frozenset({("system", system), ("state", str(state))}) for state in DeliveryState}
    numbers = {state: found["budkavle_queue_deliveries", labels[state]] for state in DeliveryState}
    assert numbers == dict.fromkeys(DeliveryState, 0) | {DeliveryState.WAITING: 2, DeliveryState.PARKED: 1}
    # They were published long ago, and no worker claims them.
    assert get_value(found, "budkavle_queue_oldest_waiting_seconds", system=system) > 60
    assert get_value(found, "budkavle_queue_overdue_deliveries", system=system) == 2
    assert found["budkavle_queue_oldest_waiting_seconds", frozenset({("system", other)})] == 0
    assert found["budkavle_queue_overdue_deliveries", frozenset({("system", other)})] == 0
    names = ("queue_oldest_waiting_seconds", "queue_overdue_deliveries", "queue_paused_deliveries", "delivery_pauses")
    of_paused = frozenset({("system", SYSTEM_IDS[2])})
    assert [found[f"budkavle_{name}", of_paused] for name in names] == [0, 0, 1, 1]


def test_get_metrics_works_without_the_database() -> None:
    with (
        closed_port() as port,
        running_service(database_url=f"postgresql://user:secret@127.0.0.1:{port}/db") as service,
    ):
        service.client.get("/health/live")
        found = parse_samples(service.client.get("/metrics"))
    assert found["budkavle_database_up", frozenset()] == 0
    assert not any(name.startswith(("budkavle_queue", "budkavle_messages")) for name, _ in found)
    assert get_value(found, "budkavle_requests_total", operation="get_health_live", status="200") >= 1


def test_get_metrics_counts_requests_by_operation_and_status(contract: RunningService) -> None:
    def counted(found: Samples, status: str) -> float:
        return get_value(found, "budkavle_requests_total", operation="get_web_message_by_id", status=status)

    def timed(found: Samples) -> float:
        return get_value(found, "budkavle_request_duration_seconds_count", operation="get_web_message_by_id")

    before = parse_samples(contract.client.get("/metrics"))
    assert contract.client.get(f"/webmessages/{create_id()}").status_code == 404
    for _ in range(2):
        assert contract.client.get("/webmessages/x").status_code == 400
    after = parse_samples(contract.client.get("/metrics"))
    assert counted(after, "404") - counted(before, "404") == 1
    assert counted(after, "400") - counted(before, "400") == 2
    assert timed(after) - timed(before) == 3


def test_values_of_callers_are_no_labels(contract: RunningService) -> None:
    contract.client.get("/metrics")
    contract.client.get("/nothing")
    contract.client.put("/metrics")
    before = parse_samples(contract.client.get("/metrics"))
    for number in range(20):
        assert contract.client.get(f"/nothing/{number}").status_code == 404
        assert contract.client.put(f"/metrics?number={number}").status_code == 405
    after = parse_samples(contract.client.get("/metrics"))
    assert set(after) == set(before)
    none = {"operation": "none", "status": "404"}
    assert (
        get_value(after, "budkavle_requests_total", **none) - get_value(before, "budkavle_requests_total", **none) == 20
    )


def test_get_metrics_has_no_parameters(contract: RunningService) -> None:
    assert read_violations(contract.client.get("/metrics?name=x")) == [
        ("getMetrics.name", "not a parameter of this operation")
    ]


def test_get_metrics_counts_messages_in_doubt(database_url: str) -> None:
    now = datetime.now(UTC)

    async def put(database: Database) -> None:
        # The longest call takes 45 seconds.
        for seconds, is_unknown in (
            (0, False),
            (30, False),
            (60, False),
            (99, False),
            (0, True),
            (60, True),
            (80, True),
        ):
            message = build_web_message(created=None)
            await web_messages.begin_sending(database, message, now - timedelta(seconds=seconds))
            if is_unknown:
                await web_messages.mark_unknown(database, message.id)
        await web_messages.store(database, build_web_message(created=now))

    run_with_database(database_url, put)
    with running_service(database_url=database_url) as service:
        found = parse_samples(service.client.get("/metrics"))
    assert get_value(found, "budkavle_messages_in_doubt", state="sending") == 2
    assert get_value(found, "budkavle_messages_in_doubt", state="unknown") == 3
    assert 99 <= get_value(found, "budkavle_messages_in_doubt_oldest_seconds") < 200


def test_get_metrics_returns_the_age_of_messages_that_were_deleted_in_doubt(database_url: str) -> None:
    now = datetime.now(UTC)

    async def put(database: Database) -> None:
        message = build_web_message(created=None, external_references=(ExternalReference("flowInstanceId", "1"),))
        await web_messages.begin_sending(database, message, now - timedelta(seconds=99))
        entry = AuditEntry("-", "change", now, "tests", "tests", "deleted_in_doubt", "-")
        assert await publication_decisions.delete_in_doubt(database, message.id, now, entry)

    with running_service(database_url=database_url) as service:
        assert (
            get_value(parse_samples(service.client.get("/metrics")), "budkavle_messages_in_doubt_oldest_seconds") == 0
        )
        run_with_database(database_url, put)
        found = parse_samples(service.client.get("/metrics"))
    assert get_value(found, "budkavle_messages_in_doubt", state="sending") == 0
    assert 99 <= get_value(found, "budkavle_messages_in_doubt_oldest_seconds") < 200


def test_scrape_does_not_wait_for_the_count_of_the_queue(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes return while the count is blocked; they include the figures afterwards. Only the first waits a moment."""
    may_count = threading.Event()

    class Held(QueueWatch):
        """A count that waits until the test releases it."""

        async def _count(self, now: datetime) -> None:
            await asyncio.to_thread(may_count.wait, 60)
            await super()._count(now)

    async def scrape() -> None:
        database = open_database(database_url)
        watch = Held(database)
        try:
            for _ in range(3):
                async with asyncio.timeout(60):
                    text = await metrics.collect(database, watch, NOW, timedelta(0))
                assert b"budkavle_database_up 1.0" in text
                assert b"budkavle_queue" not in text
                monkeypatch.setattr(metrics, "QUEUE_WAIT_SECONDS", 3600)
            may_count.set()
            assert watch._counting is not None
            await watch._counting
            assert b"budkavle_queue_age_seconds" in await metrics.collect(database, watch, NOW, timedelta(0))
        finally:
            may_count.set()
            await database.close()

    asyncio.run(scrape())
