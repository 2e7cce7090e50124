"""Receivers that recover, or that request a delay."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from domain.deliveries import Target
from persistence import deliveries as queued
from persistence import tables
from persistence.database import Database
from persistence.queue import back_offs
from persistence.work import short_write
from tests.delivery.receiving import OK, Recorder, build_base_url
from tests.delivery.working import PERSON, SECOND, StartPeer, deliver_due, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.open_e.peers import encode_response, read_request
from tests.persistence.catalogues import SYSTEM, build_entry, sync
from tests.persistence.queues import build_action, list_rows, publish

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class Paths:
    """A receiver with a separate response for each path; `seen` counts the calls."""

    def __init__(self, **responses: bytes) -> None:
        self.answers = {f"/star/{name}": response for name, response in responses.items()}
        self.seen: Counter[str] = Counter()

    def __call__(self, connection: Any, _: int) -> None:
        while True:
            head, _ = read_request(connection)
            path = head.split(" ")[1]
            self.seen[path] += 1
            connection.sendall(self.answers[path])


async def make_wait(database: Database) -> None:
    """Postpone the next attempt of all deliveries by some hours, as after an outage."""
    await database.write(
        short_write(lambda c: c.execute(tables.deliveries.update().values(due=NOW + 3 * HOUR, attempts=12)))
    )


async def test_success_pulls_waiting_deliveries_of_its_target_forward_over_time(
    database: Database, peer: StartPeer
) -> None:
    receiver = Paths(up=OK, other=OK)
    await subscribe(database, build_base_url(peer(receiver)))
    await sync(database, [build_entry(0, webhook_url="/up"), build_entry(1, org_code=102, webhook_url="/other")])
    for _ in range(5):
        await publish(database)
    await publish(database, org_code=102)
    await make_wait(database)
    await publish(database)
    assert await deliver_due(database) >= 1
    dues = sorted(row["due"] for row in await read_deliveries(database))
    # Deliveries of the other path still wait.
    assert dues[-1] == NOW + 3 * HOUR
    pulled = dues[:-1]
    assert all(NOW < due <= NOW + SECOND for due in pulled)
    assert len(set(pulled)) == len(pulled)
    assert await deliver_due(database, NOW + SECOND) == len(pulled)
    assert receiver.seen == {"/star/up": 6}


async def test_success_does_not_change_the_order_of_a_key(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    for number in range(3):
        await publish(database, version=str(number), **PERSON)
    await make_wait(database)
    await publish(database, version="3", **PERSON)
    # The last one is due after the others.
    assert await deliver_due(database) == 0
    await publish(database, version="other")
    await deliver_due(database)
    await deliver_due(database, NOW + SECOND)
    versions = [json.loads(body)["versionIdentifier"] for _, body in recorder.requests]
    assert versions == ["other", "0", "1", "2", "3"]


async def test_delivery_that_fails_alone_is_not_pulled_forward_by_each_success(
    database: Database, peer: StartPeer
) -> None:
    seen: list[str] = []

    def serve(connection: Any, _: int) -> None:
        while True:
            _, body = read_request(connection)
            is_bad = b'"versionIdentifier":"bad"' in body
            seen.append("bad" if is_bad else "good")
            connection.sendall(encode_response(b"", "500 Oh") if is_bad else OK)

    await subscribe(database, build_base_url(peer(serve)))
    async with running_worker(database) as worker:
        await publish(database)
        await worker.run_once(NOW)
        await worker.finish()
        await publish(database, version="bad")
        for _ in range(5):
            await worker.run_once(NOW)
            await worker.finish()
            await publish(database)
        (bad, *_) = await read_deliveries(database)
    assert seen.count("bad") == 1
    assert bad["due"] == NOW + SECOND


async def test_retry_after_applies_to_the_target_in_every_worker_until_it_is_overridden(
    database: Database, peer: StartPeer
) -> None:
    busy = encode_response(b"", "503 Busy", "Retry-After: 600\r\n")
    receiver = Paths(busy=busy, other=OK)
    await subscribe(database, build_base_url(peer(receiver)))
    await sync(database, [build_entry(0, webhook_url="/busy"), build_entry(1, org_code=102, webhook_url="/other")])
    await publish(database)
    assert await deliver_due(database) == 1
    await publish(database)
    await publish(database, org_code=102)
    # Each call creates a worker without knowledge of the previous one.
    assert await deliver_due(database, NOW + 500 * SECOND) == 1
    assert receiver.seen == {"/star/busy": 1, "/star/other": 1}
    receiver.answers["/star/busy"] = OK
    (_, waiting) = await read_deliveries(database)
    action = build_action(SYSTEM, time=NOW + 500 * SECOND)
    assert await queued.replay(database, [waiting["id"]], action) == {waiting["id"]}
    assert await deliver_due(database, NOW + 500 * SECOND) == 1
    # That success pulls the first one forward, but not before the end of the delay.
    (first,) = await read_deliveries(database)
    assert first["due"] == NOW + 600 * SECOND
    assert await deliver_due(database, NOW + 599 * SECOND) == 0
    assert await deliver_due(database, NOW + 600 * SECOND) == 1
    await back_offs.prune_back_offs(database, NOW + 601 * SECOND)
    assert await list_rows(database, tables.target_pauses) == []


async def test_longest_delay_of_a_target_applies_and_delays_of_unknown_systems_are_dropped(
    database: Database, peer: StartPeer
) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    target, gone = Target(SYSTEM, "/a"), Target("0b1f4c1e-5798-41e9-ae24-57fa13b361e1", "/a")
    await back_offs.store_back_offs(database, {target: NOW + 2 * SECOND, gone: NOW + SECOND})
    await back_offs.store_back_offs(database, {target: NOW + SECOND})
    (row,) = await list_rows(database, tables.target_pauses)
    assert (row["system_id"], row["webhook_url"], row["until"]) == (SYSTEM, "/a", NOW + 2 * SECOND)


async def test_many_deliveries_are_pulled_forward_in_batches(database: Database, peer: StartPeer) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    for _ in range(25):
        await publish(database)
    await make_wait(database)
    start, found = NOW, []
    while True:
        number, start = await back_offs.pull_forward(database, Target(SYSTEM, "/a"), start, 10)
        found.append(number)
        if number < 10:
            break
    assert found == [10, 10, 5]
    dues = [row["due"] for row in await read_deliveries(database)]
    assert dues == [NOW + place * back_offs.PULLED_EVERY for place in range(25)]


async def test_find_waiting_returns_the_targets_with_deliveries_that_wait_longer(
    database: Database, peer: StartPeer
) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    await sync(database, [build_entry(0, webhook_url="/waits"), build_entry(1, org_code=102, webhook_url="/due")])
    await publish(database)
    await make_wait(database)
    await publish(database, org_code=102)
    starts = {Target(SYSTEM, path): NOW for path in ("/waits", "/due", "/unknown")}
    assert await back_offs.find_waiting(database, starts, 10) == {Target(SYSTEM, "/waits")}
    later = dict.fromkeys(starts, NOW + 3 * HOUR)
    assert await back_offs.find_waiting(database, later, 10) == set()
