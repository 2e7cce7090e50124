"""The outcome of deliveries, by a worker with real receivers on each database."""

import hashlib
import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from delivery.worker import KEPT_PAGES, PRUNED_AT_ONCE
from domain.audit import RETENTION
from domain.deliveries import DeliveryState, Reason
from persistence import audit, tables
from persistence import deliveries as queued
from persistence.database import Database
from persistence.deliveries import TrialEvent
from persistence.work import short_write
from tests.delivery.receiving import OK, Recorder, build_base_url
from tests.delivery.token_servers import Gateway, TokenServer, build_client, encode_json
from tests.delivery.working import PERSON, SECOND, StartPeer, deliver_due, read_deliveries, running_worker, subscribe
from tests.factories import NOW
from tests.open_e.peers import encode_response, read_request
from tests.persistence.catalogues import SYSTEM, prepare
from tests.persistence.queues import build_action, build_event, build_publication, list_rows, publish
from tests.persistence.rows import count_rows

pytestmark = pytest.mark.anyio


async def test_delivered_event_is_removed_from_the_queue(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    for _ in range(3):
        await publish(database)
    ids = {row["id"] for row in await read_deliveries(database)}
    assert await deliver_due(database) == 3
    assert len(recorder.requests) == 3
    assert {recorder.headers(index)["webhook-id"] for index in range(3)} == ids
    assert (await count_rows(database)).get("deliveries", 0) == 0


async def test_receipt_has_the_hash_of_the_body_that_was_sent(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    for _ in range(3):
        await publish(database, **PERSON)
    assert sum([await deliver_due(database) for _ in range(3)]) == 3
    received = {
        recorder.headers(index)["webhook-id"]: hashlib.sha256(recorder.requests[index][1]).hexdigest()
        for index in range(3)
    }
    assert {row["id"]: row["hash"] for row in await list_rows(database, tables.receipts)} == received


async def test_failed_delivery_is_retried_at_the_time_of_the_formula(database: Database, peer: StartPeer) -> None:
    recorder = Recorder(encode_response(b"not now", "503 Busy"))
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database)
    now = NOW
    for number, wait in enumerate((1, 3, 7, 15), 1):
        assert await deliver_due(database, now) == 1
        (row,) = await read_deliveries(database)
        now += wait * SECOND
        assert (row["attempts"], row["due"], row["lease"], row["state"]) == (number, now, None, "waiting")
        assert await deliver_due(database, now - timedelta(milliseconds=1)) == 0
    attempts = await list_rows(database, tables.attempts)
    assert [(item["number"], item["status"], item["reason"], item["answer"]) for item in attempts] == [
        (number, 503, "http", "not now") for number in range(1, 5)
    ]
    assert attempts[1]["time"] == NOW + SECOND
    assert len(recorder.requests) == 4


async def test_retry_after_of_a_receiver_is_respected(database: Database, peer: StartPeer) -> None:
    response_bytes = encode_response(b"", "429 Slow down", "Retry-After: 120\r\n")
    await subscribe(database, build_base_url(peer(Recorder(response_bytes))))
    await publish(database)
    await deliver_due(database)
    (row,) = await read_deliveries(database)
    assert row["due"] == NOW + 120 * SECOND


async def test_refused_delivery_is_parked_and_the_next_of_its_key_is_sent(database: Database, peer: StartPeer) -> None:
    recorder = Recorder(encode_response(b"unknown", "404 Not Found"))
    await subscribe(database, build_base_url(peer(recorder)))
    await publish(database, **PERSON)
    await publish(database, **PERSON)
    assert await deliver_due(database) == 2
    parked = await read_deliveries(database)
    assert [(row["state"], row["due"]) for row in parked] == [("parked", None)] * 2
    assert await deliver_due(database, NOW + timedelta(days=1)) == 0


async def test_delivery_to_a_refused_address_is_parked(database: Database, peer: StartPeer) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(peer(recorder)))
    await database.write(
        short_write(lambda c: c.execute(tables.systems.update().values(allow_private_addresses=False)))
    )
    await publish(database)
    assert await deliver_due(database) == 1
    (row,) = await read_deliveries(database)
    (attempt,) = await list_rows(database, tables.attempts)
    assert (row["state"], attempt["reason"], attempt["status"]) == ("parked", Reason.ADDRESS, None)
    assert recorder.requests == []


async def test_unreachable_receiver_is_retried(database: Database, peer: StartPeer) -> None:
    server = peer(Recorder())
    server.close()
    await subscribe(database, build_base_url(server))
    await publish(database)
    await deliver_due(database)
    (row,) = await read_deliveries(database)
    (attempt,) = await list_rows(database, tables.attempts)
    assert (row["state"], row["due"], attempt["reason"]) == ("waiting", NOW + SECOND, Reason.CONNECT)


async def test_events_of_one_key_arrive_in_order_despite_failures(database: Database, peer: StartPeer) -> None:
    seen: list[str] = []

    def serve(connection: Any, _: int) -> None:
        while True:
            _, body = read_request(connection)
            version = body.decode().partition('"versionIdentifier":"')[2].partition('"')[0]
            seen.append(version)
            # Every second attempt is accepted.
            connection.sendall(OK if seen.count(version) == 2 else encode_response(b"", "500 Oh"))

    await subscribe(database, build_base_url(peer(serve)))
    for number in range(4):
        await publish(database, version=str(number), **PERSON)
    for place in range(10):
        await deliver_due(database, NOW + 2 * place * SECOND)
    assert seen == ["0", "0", "1", "1", "2", "2", "3", "3"]


async def test_replayed_delivery_keeps_its_id(database: Database, peer: StartPeer) -> None:
    seen: list[str] = []

    def serve(connection: Any, _: int) -> None:
        while True:
            head, _ = read_request(connection)
            seen.append(head.lower().partition("webhook-id: ")[2].partition("\r\n")[0])
            connection.sendall(encode_response(b"", "404 Not Found") if len(seen) == 1 else OK)

    await subscribe(database, build_base_url(peer(serve)))
    await publish(database)
    (waiting,) = await read_deliveries(database)
    assert await deliver_due(database) == 1
    assert await queued.replay(database, [waiting["id"]], build_action(SYSTEM)) == {waiting["id"]}
    assert await deliver_due(database) == 1
    assert seen == [waiting["id"]] * 2
    assert await read_deliveries(database) == []


async def test_events_and_test_messages_have_the_credentials_of_the_system(
    database: Database, peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", "secret")
    monkeypatch.setenv("GATEWAY_KEY", "key of the gateway")
    gateway, endpoint = Gateway(lambda token: token != "token-1"), TokenServer()
    await subscribe(database, build_base_url(peer(gateway)))
    client = asdict(build_client(peer(endpoint)))
    values = {"headers": {"X-Api-Key": "env:GATEWAY_KEY"}, "oauth2": client}
    await database.write(short_write(lambda connection: connection.execute(tables.systems.update().values(values))))
    trial = TrialEvent(build_publication(build_event()), SYSTEM, "7d6a9c1e-0000-4000-8000-000000000002")
    await queued.publish_test(database, trial, build_action(SYSTEM))
    assert await deliver_due(database) == 1
    # The delivery was sent twice in one attempt: the first token was rejected.
    assert gateway.list_tokens() == ["token-1", "token-2"]
    (receipt,) = await list_rows(database, tables.receipts)
    assert (receipt["attempts"], receipt["status"], receipt["failures"]) == (1, 200, None)
    assert {gateway.headers(index)["x-api-key"] for index in range(2)} == {"key of the gateway"}


async def test_delivery_without_an_access_token_waits_and_says_why(
    database: Database, peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", "secret")
    endpoint = peer(TokenServer(lambda _: encode_json({"error": "invalid_client"}, "401 Unauthorized")))
    await subscribe(database, build_base_url(peer(Gateway())))
    client = build_client(endpoint)
    values = {"oauth2": asdict(client)}
    await database.write(short_write(lambda connection: connection.execute(tables.systems.update().values(values))))
    await publish(database)
    assert await deliver_due(database) == 1
    (row,) = await read_deliveries(database)
    waiting = await queued.get(database, row["id"])
    detail = f"the token endpoint {client.token_url} answered 401 invalid_client"
    assert (waiting.state, waiting.reason, waiting.detail) == (DeliveryState.WAITING, Reason.TOKEN, detail)
    assert waiting.due == NOW + SECOND


async def test_test_message_arrives_only_at_its_subscription(database: Database, peer: StartPeer) -> None:
    recorder, other = Recorder(), Recorder()
    await subscribe(database, build_base_url(peer(recorder)), build_base_url(peer(other)))
    trial = TrialEvent(
        build_publication(build_event(body={"testbesked": True})), SYSTEM, "7d6a9c1e-0000-4000-8000-000000000002"
    )
    await queued.publish_test(database, trial, build_action(SYSTEM))
    assert await deliver_due(database) == 1
    ((_, body),) = recorder.requests
    assert json.loads(body)["body"] == {"testbesked": True}
    assert recorder.headers()["webhook-id"] == trial.delivery_id
    assert other.requests == []


async def test_old_events_that_are_kept_do_not_hide_later_ones(database: Database) -> None:
    """Each run of the housekeeping considers a limited number of them, and the next one continues there."""
    await subscribe(database, "https://receiver.example")
    await publish(database, created=NOW - timedelta(days=3))

    @short_write
    def copy_and_remove(connection: sa.Connection) -> None:
        row = dict(connection.execute(sa.select(tables.events)).mappings().one())
        delivery = dict(connection.execute(sa.select(tables.deliveries)).mappings().one())
        del delivery["number"]
        kept = [str(UUID(int=place)) for place in range(KEPT_PAGES * PRUNED_AT_ONCE)]
        connection.execute(tables.events.insert(), [row | {"id": id_} for id_ in kept])
        connection.execute(tables.deliveries.insert(), [delivery | {"id": id_, "event_id": id_} for id_ in kept])
        connection.execute(tables.deliveries.delete().where(tables.deliveries.c.event_id == row["id"]))

    await database.write(copy_and_remove)
    async with running_worker(database) as worker:
        numbers = []
        for _ in range(3):
            await worker._remove_old(NOW)
            numbers.append((await count_rows(database))["events"])
    assert numbers == [10_001, 10_000, 10_000]


async def test_housekeeping_deletes_all_old_receipts(database: Database, peer: StartPeer) -> None:
    await subscribe(database, build_base_url(peer(Recorder())))
    await publish(database)
    await deliver_due(database)

    @short_write
    def copy(connection: sa.Connection) -> None:
        row = dict(connection.execute(tables.receipts.select()).mappings().one())
        del row["number"]
        old = {"last_attempt": NOW - timedelta(days=91)}
        copies = [row | old | {"id": str(UUID(int=place))} for place in range(PRUNED_AT_ONCE + 1)]
        connection.execute(tables.receipts.insert(), copies)

    await database.write(copy)
    async with running_worker(database) as worker:
        await worker._remove_old(NOW)
        await worker._remove_old(NOW + timedelta(minutes=9))
    assert (await count_rows(database))["receipts"] == 1
    assert await list_removals(database) == [("receipts", 90, PRUNED_AT_ONCE + 1)]


async def test_audit_has_the_number_of_old_events_every_ten_minutes(database: Database) -> None:
    """They are removed more often."""
    await prepare(database)
    for _ in range(2):
        await publish(database, created=NOW - timedelta(days=2))
    recorded = []
    async with running_worker(database) as worker:
        for minutes in (0, 1, 9, 10, 11):
            await worker._remove_old(NOW + timedelta(minutes=minutes))
            recorded.append(await list_removals(database))
            await publish(database, created=NOW - timedelta(days=2))
    first, second = ("events", 1, 2), ("events", 1, 3)
    assert recorded == [[first], [first], [first], [first, second], [first, second]]
    rows = await count_rows(database)
    assert (rows["events"], rows["removal_counts"]) == (1, 1)


async def list_removals(database: Database) -> list[tuple[str, float, int]]:
    """Return kind, days and number of the entries about what was removed."""
    details = [each.entry.detail for _, each in await audit.list_page(database, after=0, limit=10, chain=RETENTION)]
    return [(detail["kind"], detail["days"], detail["removed"]) for detail in details]
