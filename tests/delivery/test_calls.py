"""The request of a call, and the interpretation of its response."""

import asyncio
import gzip
import json
import queue
from datetime import UTC, datetime

import pytest

from delivery.calls import ReceiverClient
from domain.deliveries import Reason, ReceiverResponse
from tests.delivery.receiving import (
    NOW,
    OK,
    Recorder,
    build_base_url,
    build_claimed_delivery,
    build_event,
    build_receiver,
    send,
    send_one,
)
from tests.open_e.peers import encode_response, read_request


def test_send_posts_the_payload(run, peer):
    recorder = Recorder()
    [response] = run(send(build_claimed_delivery(build_base_url(peer(recorder)), webhook_url="/kontakt/%7Ea%2Fb/")))
    assert response == ReceiverResponse(200, None, "tak")
    [(head, body)] = recorder.requests
    assert head.startswith("POST /star/kontakt/%7Ea%2Fb/ HTTP/1.1\r\n")
    assert json.loads(body)["beskedId"] == build_event().id
    headers = recorder.headers()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "Budkavle"
    assert int(headers["content-length"]) == len(body)
    assert set(headers) == {
        "host",
        "content-type",
        "content-length",
        "user-agent",
        "accept-encoding",
        "webhook-id",
        "webhook-timestamp",
    }


def test_send_keeps_connections(run, peer):
    server = peer(Recorder())
    assert [each.status for each in run(send(*[build_claimed_delivery(build_base_url(server))] * 3))] == [200] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, None), (202, None), (204, None), (299, None), (302, Reason.HTTP), (404, Reason.HTTP), (500, Reason.HTTP)],
)
def test_send_returns_the_status(run, peer, status, reason):
    response_bytes = encode_response(b"" if status == 204 else b"x", f"{status} Says")
    response = run(send_one(build_base_url(peer(Recorder(response_bytes)))))
    assert (response.status, response.reason, response.body) == (status, reason, "" if status == 204 else "x")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_send_does_not_follow_redirects(run, peer, status):
    target = peer(Recorder())
    response_bytes = encode_response(b"", status, f"Location: {build_base_url(target)}\r\n")
    assert run(send_one(build_base_url(peer(Recorder(response_bytes))))).status == int(status[:3])
    assert target.connections == 0


def test_send_keeps_no_cookies(run, peer):
    recorder = Recorder(encode_response(b"", headers="Set-Cookie: a=b; Path=/\r\n"))
    run(send(*[build_claimed_delivery(build_base_url(peer(recorder)))] * 2))
    assert len(recorder.requests) == 2
    assert "cookie" not in recorder.headers()


def test_send_uses_no_proxy_of_the_environment(run, peer, monkeypatch):
    proxy, server = peer(Recorder()), peer(Recorder())
    monkeypatch.setenv("http_proxy", build_base_url(proxy))
    monkeypatch.delenv("no_proxy", raising=False)
    assert run(send_one(build_base_url(server))).status == 200
    assert (proxy.connections, server.connections) == (0, 1)


def test_send_does_not_decompress(run, peer):
    packed = gzip.compress(b"0" * 10_000_000)
    recorder = Recorder(encode_response(packed, headers="Content-Encoding: gzip\r\n"))
    response = run(send_one(build_base_url(peer(recorder))))
    assert response.status == 200
    assert "000" not in response.body
    assert recorder.headers()["accept-encoding"] == "identity"


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1024 * 1024])
def test_send_reads_at_most_16_kib(run, peer, size):
    closed = queue.SimpleQueue()

    def serve(connection, _):
        read_request(connection)
        whole = encode_response(b"a" * size)
        connection.sendall(whole[: len(whole) - size + 16 * 1024])
        # The rest of the body is never sent, so waiting for it would take until the deadline.
        closed.put(connection.recv(1))

    server = peer(serve)
    first, second = run(send(*[build_claimed_delivery(build_base_url(server))] * 2))
    assert first == second == ReceiverResponse(200, None, "a" * 1024)
    assert server.connections == 2
    assert [closed.get(timeout=10) for _ in range(2)] == [b"", b""]


def test_send_reads_a_response_of_16_kib_and_keeps_the_connection(run, peer):
    server = peer(Recorder(encode_response(b"a" * 16 * 1024)))
    assert [each.status for each in run(send(*[build_claimed_delivery(build_base_url(server))] * 2))] == [200, 200]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"r\xc3\xb8d", "rød"),
        (b"a\0b", "a\ufffdb"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"a" * 1023 + "ø".encode(), "a" * 1023 + "\ufffd"),
        (b"a" * 1025, "a" * 1024),
    ],
)
def test_send_stores_a_text_that_databases_accept(run, peer, sent, stored):
    assert run(send_one(build_base_url(peer(Recorder(encode_response(sent)))))).body == stored


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("10800", 10800),
        ("10801", 10800),
        ("9" * 5000, 10800),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 10800),
        ("Sun, 01 Mar 2026 11:59:59 GMT", None),
        ("Sun, 99 Mar 2026 12:01:00 GMT", None),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60),
        ("Sun Mar  1 12:01:00 2026", 60),
        ("Sunday, 01-Mar-76 12:01:00 GMT", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\xb2", None),
        ("", None),
    ],
)
def test_send_returns_retry_after(run, peer, value, seconds):
    response_bytes = encode_response(b"", "503 Busy", "Retry-After: VALUE\r\n").replace(b"VALUE", value.encode())
    response = run(send_one(build_base_url(peer(Recorder(response_bytes))), now=datetime(2026, 3, 1, 12, tzinfo=UTC)))
    assert (response.status, response.retry_after) == (503, seconds)


def test_send_makes_concurrent_calls(run, peer):
    server = peer(Recorder())

    async def many():
        calls = ReceiverClient()
        try:
            return await asyncio.gather(
                *(calls.send(build_claimed_delivery(build_base_url(server)), NOW) for _ in range(50))
            )
        finally:
            await calls.close()

    assert [each.status for each in run(many())] == [200] * 50


def test_send_can_be_cancelled(run, peer):
    started = asyncio.Event()

    def serve(connection, _):
        read_request(connection)
        loop.call_soon_threadsafe(started.set)
        connection.recv(1)

    async def cancel():
        nonlocal loop
        loop = asyncio.get_running_loop()
        calls = ReceiverClient()
        task = asyncio.create_task(calls.send(build_claimed_delivery(build_receiver(build_base_url(peer(serve)))), NOW))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await calls.close()

    loop = None
    run(cancel())


def test_send_ignores_an_interim_response(run, peer):
    response_bytes = b"HTTP/1.1 102 Processing\r\n\r\n" + OK
    assert run(send_one(build_base_url(peer(Recorder(response_bytes))))).status == 200


def test_send_forwards_the_request_id_and_the_trace_of_the_publisher(run, peer):
    recorder = Recorder()
    run(
        send(
            build_claimed_delivery(
                build_base_url(peer(recorder)), request_id="named-1", trace_parent=f"00-{'a' * 32}-{'b' * 16}-01"
            )
        )
    )
    headers = recorder.headers()
    assert (headers["x-request-id"], headers["traceparent"]) == ("named-1", f"00-{'a' * 32}-{'b' * 16}-01")
