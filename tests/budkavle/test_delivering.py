"""Workers as processes: they deliver, shut down cleanly, and take over from a dead worker."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain.deliveries import DeliveryState
from persistence import receipt_rounds
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.held_receiver import held_receiver
from tests.openapi.server.test_serving import wait_until_refused
from tests.processes import REPOSITORY, Process, budkavle, run_program, running
from tests.waiting import block_until

WAITS = "The worker waits for another worker on this file"


@dataclass
class RunningWorker:
    process: Process
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, verify=False, timeout=30)

    def sample(self, name: str, **labels: str) -> float:
        """Return one sample of the worker's metrics, 0 if it is absent."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        found = (sample for family in families for sample in family.samples)
        return sum(sample.value for sample in found if (sample.name, sample.labels) == (name, labels))

    def wait_for_sample(self, name: str, value: float, **labels: str) -> None:
        block_until(lambda: self.sample(name, **labels) == value)

    def end(self) -> None:
        self.process.send(signal.SIGTERM)
        assert self.process.wait() == 0


@contextmanager
def running_worker(database_url: str, *arguments: str, **settings: Any) -> Iterator[RunningWorker]:
    """Run a worker on a free port."""
    settings = {"database_url": database_url, "worker_port": 0, **settings}
    with running(*budkavle("worker", *arguments), **settings) as process:
        yield RunningWorker(process, process.wait_for("The worker listens on "))


def test_worker_delivers_and_serves_only_health_and_metrics(database_url: str) -> None:
    with (
        held_receiver(is_held=False) as receiver,
        running_worker(database_url, receipt_seal_minutes=0.001) as worker,
    ):
        subscribe(database_url, receiver.url)
        ids = publish(database_url, 3)
        worker.wait_for_sample("budkavle_delivery_attempts_total", 3, outcome="done", answer="2xx")
        assert sorted(body["beskedId"] for body in receiver.bodies) == sorted(ids)
        worker.wait_for_sample("budkavle_queue_deliveries", 0, state="waiting")
        assert worker.sample("budkavle_delivery_latency_seconds_count") == 3
        assert worker.sample("budkavle_database_up") == 1
        assert worker.get("/health/live").json() == {"status": "UP"}
        assert worker.get("/health/ready").json()["components"]["database"] == "UP"
        assert worker.get("/webmessages/x").status_code == 404
        assert worker.get("/v1/beskedtype/tilladte").status_code == 404
        while run_with_database(database_url, receipt_rounds.find_last_round) is None:
            pass
        worker.end()
    assert list_queue(database_url) == []


def test_reference_lists_exactly_the_existing_metrics(sqlite_url: str) -> None:
    reference = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(budkavle_\w+)` \| ([\w, ]*)\|", reference, re.MULTILINE))
    subscribe(sqlite_url)
    with running_worker(sqlite_url) as worker:
        # The labels of each operation exist from its first request on.
        worker.wait_for_sample("budkavle_queue_deliveries", 0, state="waiting", system=SYSTEM_ID)
        while "budkavle_queue_age_seconds" not in (text := worker.get("/metrics").text):
            pass
        families = list(text_string_to_metric_families(text))
        worker.end()
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name.startswith("budkavle_")
    }
    assert {name for name, _ in documented} == names
    for name, labels in documented:
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        for sample in samples:
            assert sorted(sample.labels) == sorted(labels.replace(",", "").split()), name
    if shutil.which("promtool") is not None:
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_stopping_worker_settles_running_deliveries_and_leaves_the_others(database_url: str) -> None:
    with held_receiver() as receiver, running_worker(database_url, "--concurrency", "1") as worker:
        subscribe(database_url, receiver.url)
        publish(database_url, 3)
        receiver.wait_for_calls(1)
        worker.process.send(signal.SIGTERM)
        wait_until_refused(httpx.URL(worker.url).port or 0)
        receiver.release_calls()
        assert worker.process.wait() == 0
        assert len(receiver.bodies) == 1
    left = list_queue(database_url)
    assert [(item.state, item.attempts, item.is_held) for item in left] == [(DeliveryState.WAITING, 0, False)] * 2


@pytest.mark.parametrize(("signals", "timeout"), [(2, 3600), (1, 1)], ids=["second-signal", "timeout"])
def test_stopping_worker_gives_up_slow_deliveries(sqlite_url: str, signals: int, timeout: int) -> None:
    settings = {"shutdown_timeout": timeout, "delivery_timeout": 600, "delivery_lease": 700}
    with held_receiver() as receiver, running_worker(sqlite_url, **settings) as worker:
        subscribe(sqlite_url, receiver.url)
        publish(sqlite_url)
        receiver.wait_for_calls(1)
        worker.process.send(signal.SIGTERM)
        wait_until_refused(httpx.URL(worker.url).port or 0)
        if signals == 2:
            worker.process.send(signal.SIGTERM)
        assert worker.process.wait(20) == 0
    # The worker recovers without a restart.
    assert [(item.state, item.is_held) for item in list_queue(sqlite_url)] == [(DeliveryState.WAITING, True)]


def test_second_worker_on_a_sqlite_file_takes_over_from_a_killed_one(sqlite_url: str) -> None:
    settings = {"delivery_timeout": 1, "delivery_lease": 2}
    with held_receiver() as receiver, running_worker(sqlite_url, **settings) as first:
        subscribe(sqlite_url, receiver.url)
        (event_id,) = publish(sqlite_url)
        receiver.wait_for_calls(1)
        with running_worker(sqlite_url) as second, running_worker(sqlite_url) as third:
            for waiting in (second, third):
                waiting.process.wait_for(WAITS)
                # Health can be requested meanwhile.
                assert waiting.get("/health/ready").status_code == 200
            third.end()
            first.process.send(signal.SIGKILL)
            second.process.wait_for("The worker takes over")
            receiver.release_calls()
            receiver.wait_for_calls(2)
            assert {body["beskedId"] for body in receiver.bodies} == {event_id}
            second.wait_for_sample("budkavle_delivery_attempts_total", 1, outcome="done", answer="2xx")
            second.end()
            assert second.process.out.count(f"{WAITS}\n") == 1
    assert list_queue(sqlite_url) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_workers_on_postgresql_do_not_wait_for_each_other(database_url: str) -> None:
    with (
        held_receiver() as receiver,
        running_worker(database_url, "--concurrency", "1") as first,
        running_worker(database_url, "--concurrency", "1") as second,
    ):
        subscribe(database_url, receiver.url)
        publish(database_url, 2)
        receiver.wait_for_calls(2)
        for worker in (first, second):
            worker.wait_for_sample("budkavle_delivery_attempts_under_way", 1)
        receiver.release_calls()
        first.end()
        second.end()
    assert list_queue(database_url) == []


def test_serve_delivers_only_with_a_worker(sqlite_url: str) -> None:
    arguments = budkavle("serve", "--port", "0", "--with-worker")
    with held_receiver(is_held=False) as receiver, running(*arguments, database_url=sqlite_url) as process:
        process.wait_for("Budkavle listens on ")
        subscribe(sqlite_url, receiver.url)
        publish(sqlite_url)
        receiver.wait_for_calls(1)
        with running_worker(sqlite_url) as second:
            second.process.wait_for(WAITS)
            process.send(signal.SIGTERM)
            assert process.wait() == 0
            second.process.wait_for("The worker takes over")
            second.end()
    assert list_queue(sqlite_url) == []


def test_worker_parks_refused_deliveries_and_counts_them(sqlite_url: str) -> None:
    with held_receiver(404, is_held=False) as receiver, running_worker(sqlite_url) as worker:
        subscribe(sqlite_url, receiver.url)
        publish(sqlite_url)
        worker.wait_for_sample("budkavle_delivery_attempts_total", 1, outcome="park", answer="4xx")
        worker.end()
    (parked,) = list_queue(sqlite_url)
    assert (parked.state, parked.status) == (DeliveryState.PARKED, 404)


def test_worker_rejects_a_lease_shorter_than_an_attempt(sqlite_url: str) -> None:
    result = run_program(*budkavle("worker"), database_url=sqlite_url, delivery_timeout=20, delivery_lease=20)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: unusable settings: BUDKAVLE_DELIVERY_LEASE: must be more than BUDKAVLE_DELIVERY_TIMEOUT, which is 20\n"
    )
