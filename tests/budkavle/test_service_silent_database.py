"""Processes whose PostgreSQL goes silent: errors within limits, a cause in the log, recovery without manual steps."""

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.budkavle.queues import publish, subscribe
from tests.budkavle.services import KEY, put_key
from tests.budkavle.test_delivering import RunningWorker
from tests.factories import build_message_body
from tests.held_receiver import HeldReceiver, held_receiver
from tests.postgresql import PostgresqlServer
from tests.processes import Process, budkavle, run_program, running
from tests.tcp_proxy import TcpProxy, tcp_proxy
from tests.waiting import block_until

LIMITS = {
    "database_connect_timeout": 1,
    "database_pool_timeout": 1,
    "database_statement_timeout": 1,
    "database_long_statement_timeout": 1,
    "shutdown_timeout": 1,
}
POST_SECONDS = 15
"""Seconds. Less than the default limits allow; with these limits a statement ends after 1 + 2 seconds."""

SECONDS = 40
"""More seconds than health (5) and shutdown (6) take on a busy machine."""


@dataclass
class Running:
    """A service and a worker that reach their database through a proxy: `url` uses it, `direct` does not."""

    proxy: TcpProxy
    url: str
    direct: str
    service: RunningWorker
    worker: RunningWorker
    receiver: HeldReceiver

    def post(self) -> httpx.Response:
        address, headers = f"{self.service.url}/webmessages", {"apikey": KEY}
        return httpx.post(
            address, json=build_message_body(), headers=headers, timeout=60, trust_env=False, verify=False
        )

    @property
    def both(self) -> tuple[RunningWorker, RunningWorker]:
        return self.service, self.worker


@pytest.fixture(scope="module")
def database_urls(postgresql_server: PostgresqlServer) -> Iterator[tuple[TcpProxy, str, str]]:
    direct = postgresql_server.create_migrated()
    name = direct.split("?", maxsplit=1)[0].rpartition("/")[2]
    with tcp_proxy(postgresql_server.socket) as proxy:
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable", direct
    postgresql_server.give_back(direct)


@contextmanager
def running_programs(proxy: TcpProxy, url: str, direct: str) -> Iterator[Running]:
    put_key(direct)
    settings = {"database_url": url, "worker_port": 0, **LIMITS}
    with (
        held_receiver() as receiver,
        running(*budkavle("serve", "--port", "0"), **settings) as service,
        running(*budkavle("worker"), **settings) as worker,
    ):
        subscribe(direct, receiver.url)
        addresses = service.wait_for("Budkavle listens on "), worker.wait_for("The worker listens on ")
        yield Running(
            proxy, url, direct, RunningWorker(service, addresses[0]), RunningWorker(worker, addresses[1]), receiver
        )


def get(process: RunningWorker, path: str) -> httpx.Response:
    return httpx.get(f"{process.url}{path}", timeout=60, trust_env=False, verify=False)


def is_ready(process: RunningWorker) -> bool:
    return get(process, "/health/ready").status_code == 200


def is_up(process: RunningWorker) -> bool:
    """Return whether the metrics report that the database responds."""
    (value,) = re.findall(r"^budkavle_database_up (\S+)$", get(process, "/metrics").text, re.MULTILINE)
    return bool(float(value))


def parse_log(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.err if line.startswith("{")]


def find_causes(process: Process) -> set[str]:
    """Return the log events that report a silent server."""
    return {each["event"] for each in parse_log(process) if "no answer in time" in (each.get("detail") or "")}


def test_processes_survive_a_silent_database_and_shut_down_during_silence(
    database_urls: tuple[TcpProxy, str, str],
) -> None:
    with running_programs(*database_urls) as of, ThreadPoolExecutor(10) as threads:
        assert of.post().status_code == 201
        assert [is_ready(each) for each in of.both] == [True, True]
        of.proxy.freeze(is_deaf=True)
        began = time.monotonic()
        post = threads.submit(of.post)
        ready = [threads.submit(get, each, "/health/ready") for each in of.both]
        metrics = [threads.submit(is_up, each) for each in of.both]
        listing = threads.submit(run_program, *budkavle("deliveries", "list"), database_url=of.url, **LIMITS)
        # All of these requests wait now, and the process still responds.
        assert [get(each, "/health/live").json() for each in of.both] == [{"status": "UP"}] * 2
        response = post.result()
        assert time.monotonic() - began < POST_SECONDS
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        for waiting in ready:
            found = waiting.result()
            assert (found.status_code, found.json()["components"]["database"]) == (503, "DOWN")
        assert [waiting.result() for waiting in metrics] == [False, False]
        assert time.monotonic() - began < SECONDS
        result = listing.result()
        assert (result.returncode, result.stdout) == (1, "")
        assert f"Error: PostgreSQL at 127.0.0.1:{of.proxy.port}: no answer in time" in result.stderr
        of.proxy.unfreeze()
        publish(of.direct)
        of.receiver.wait_for_calls(1)
        block_until(lambda: of.post().status_code == 201 and all(map(is_ready, of.both)))
        assert [is_up(each) for each in of.both] == [True, True]
        for each in of.both:
            assert find_causes(each.process) >= {"database_check_failed", "database_connection_lost"}
        # Both shut down while they wait for the database: one with a running request, one with a result to store.
        of.proxy.freeze(is_deaf=True)
        post = threads.submit(of.post)
        of.receiver.release_calls()
        began = time.monotonic()
        for each in of.both:
            each.process.send(signal.SIGTERM)
        assert [each.process.wait() for each in of.both] == [0, 0]
        assert time.monotonic() - began < SECONDS
        # Their own shutdown is not a failure of the database.
        for each in of.both:
            assert [entry for entry in parse_log(each.process) if entry.get("reason") == "CancelledError"] == []
            assert "Traceback" not in "".join(each.process.err)
