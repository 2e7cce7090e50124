"""Responses with a complete head count by their status, whatever their header lines contain."""

import asyncio
import queue

import pytest

from delivery.response_heads import MAX_HEAD, MAX_KEPT, MAX_LINE, HeadMalformed, HeadReader
from domain.deliveries import AttemptOutcome, Reason, ReceiverResponse, decide_outcome
from tests.delivery.receiving import OK, build_base_url, build_claimed_delivery, send, send_one
from tests.open_e.peers import read_request

CHUNKED = "Transfer-Encoding: chunked\r\n"
WHOLE = "3\r\ntak\r\n0\r\n\r\n"

# The header fields, the body, and the stored part of the text.
ODD = {
    "a field of 9 kB": (f"X: {'a' * 9000}\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a field of 500 kB": (f"X: {'a' * 500_000}\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a cookie of 20 kB": (f"Set-Cookie: a={'b' * 20_000}\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a name of 9 kB": (f"{'a' * 9000}: x\r\nContent-Length: 3\r\n", "tak", "tak"),
    "20,000 fields": ("X: a\r\n" * 20_000 + "Content-Length: 3\r\n", "tak", "tak"),
    "two equal lengths": ("Content-Length: 3\r\nContent-Length: 3\r\n", "tak", "tak"),
    "two equal lengths in one field": ("Content-Length: 3, 3\r\n", "tak", "tak"),
    "two lengths": ("Content-Length: 3\r\nContent-Length: 4\r\n", "tak", ""),
    "a length that is no number": ("Content-Length: many\r\n", "tak", ""),
    "a negative length": ("Content-Length: -1\r\n", "tak", ""),
    "a length of 30 digits": (f"Content-Length: {'9' * 30}\r\n", "tak", ""),
    "a length of something else": ("X-Content-Length: 99\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a length of something else alone": ("X-Content-Length: 99\r\n", "tak", "tak"),
    "a length in a value": ("X: a, content-length: 99\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a connection in a value": ("Vary: Connection\r\nContent-Length: 3\r\n", "tak", "tak"),
    "nothing odd": ("Date: x\r\nServer: \r\nContent-Length:3 \r\nContent-Type: a/b\r\n", "tak", "tak"),
    "a blank before the colon": ("Content-Length : 3\r\n", "tak", "tak"),
    "a folded field": ("X: a\r\n b\r\n\tc\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a folded length": ("Content-Length:\r\n 3\r\n", "tak", "tak"),
    "a fold at the start": (" a: b\r\nContent-Length: 3\r\n", "tak", "tak"),
    "no colon": ("No colon\r\nContent-Length: 3\r\n", "tak", "tak"),
    "no name": (": x\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a name with blanks": ("A B\x07: x\r\nContent-Length: 3\r\n", "tak", "tak"),
    "not ASCII": ("X: r\xf8d\r\n\xd8: y\r\nContent-Length: 3\r\n", "tak", "tak"),
    "U+0000": ("X: a\0b\r\nContent-Length: 3\r\n", "tak", "tak"),
    "a carriage return within": ("X: a\rb\r\nContent-Length: 3\r\n", "tak", "tak"),
    "two times the same field": ("Content-Type: a\r\nContent-Type: b\r\nContent-Length: 3\r\n", "tak", "tak"),
    "an old web socket": ("Sec-WebSocket-Key1: a\r\nContent-Length: 3\r\n", "tak", "tak"),
    "an upgrade": ("Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n", "tak", "tak"),
    "chunks": (CHUNKED, WHOLE, "tak"),
    "chunks and a length": (f"{CHUNKED}Content-Length: 99\r\n", WHOLE, "tak"),
    "chunks named twice": (CHUNKED * 2, WHOLE, ""),
    "chunks and a coding": ("Transfer-Encoding: gzip, chunked\r\n", WHOLE, "tak"),
    "a coding": ("Transfer-Encoding: gzip\r\n", "tak", ""),
    "no coding": ("Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "tak", "tak"),
    "chunks announced, a plain body": (CHUNKED, "tak", ""),
    "chunks announced, JSON": (CHUNKED, '{"ok": true}\r\n', ""),
    "a malformed second chunk": (CHUNKED, "3\r\ntak\r\nnot a size\r\n", "tak"),
    "a chunk longer than announced": (CHUNKED, "3\r\ntakker\r\n0\r\n\r\n", "tak"),
    "a chunk extension of 20 kB": (CHUNKED, f"3;a={'b' * 20_000}\r\ntak\r\n0\r\n\r\n", "tak"),
    "a trailer of 20 kB": (CHUNKED, f"3\r\ntak\r\n0\r\nX: {'a' * 20_000}\r\n\r\n", "tak"),
    "a malformed trailer": (CHUNKED, "3\r\ntak\r\n0\r\nno colon\x07\r\n\r\n", "tak"),
    "more than announced": ("Content-Length: 3\r\n", "takker HTTP/1.1", "tak"),
    "neither length nor chunks": ("", "tak", "tak"),
    "an empty length": ("Content-Length:\r\n", "tak", "tak"),
    "a password for a proxy": ("Proxy-Authenticate: Basic\r\nContent-Length: 3\r\n", "tak", "tak"),
}


def serve_bytes(response_bytes: bytes, size: int | None = None):
    """Run a receiver that keeps connections open, and sends this in chunks of `size` bytes."""

    def serve(connection, _):
        while True:
            read_request(connection)
            for start in range(0, len(response_bytes), size or len(response_bytes)):
                connection.sendall(response_bytes[start : start + (size or len(response_bytes))])

    return serve


def encode_raw_response(fields: str, body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{fields}\r\n{body}".encode("latin-1")


STATUSES = {"200 OK": AttemptOutcome.DONE, "404 Gone": AttemptOutcome.PARK, "503 Busy": AttemptOutcome.AGAIN}


@pytest.mark.parametrize("case", ODD)
def test_send_counts_every_complete_head(run, peer, case):
    """All statuses run concurrently, because a body without a length is read to its end."""
    fields, body, stored_body = ODD[case]
    receivers = [build_base_url(peer(serve_bytes(encode_raw_response(fields, body, status)))) for status in STATUSES]

    async def send_to_all():
        return await asyncio.gather(*(send_one(receiver, attempt_timeout=30) for receiver in receivers))

    responses = run(send_to_all())
    for response, (status, outcome) in zip(responses, STATUSES.items(), strict=True):
        assert response == ReceiverResponse(
            int(status[:3]), None if outcome is AttemptOutcome.DONE else Reason.HTTP, stored_body
        )
        assert decide_outcome(response) is outcome


@pytest.mark.parametrize("case", [case for case in ODD if len(ODD[case][0]) < 1000])
def test_send_counts_heads_that_arrive_byte_by_byte(run, peer, case):
    fields, body, stored_body = ODD[case]
    response = run(
        send_one(build_base_url(peer(serve_bytes(encode_raw_response(fields, body), 1))), attempt_timeout=30)
    )
    assert response == ReceiverResponse(200, None, stored_body)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize(
    "rest",
    [
        "\r\n",
        f"{CHUNKED}\r\n",
        f"{CHUNKED}\r\n0\r\n\r\n",
        "Content-Length: 0\r\n\r\n",
        "Content-Length: 5\r\n\r\n",
        "\r\ntak",
    ],
)
def test_send_reads_no_body_where_http_allows_none(run, peer, status, rest):
    response_bytes = f"HTTP/1.1 {status}\r\n{rest}".encode()
    response = run(
        send(*[build_claimed_delivery(build_base_url(peer(serve_bytes(response_bytes))))] * 3, attempt_timeout=30)
    )
    assert [(each.status, each.body) for each in response] == [(int(status[:3]), "")] * 3


@pytest.mark.parametrize(
    ("rest", "connections"),
    [(b"\r\n", 1), (b"Content-Length: 0\r\n\r\n", 1), (b"Transfer-Encoding: chunked\r\n\r\n", 3), (b"\r\ntak", 3)],
)
def test_send_keeps_connections_without_a_body(run, peer, rest, connections):
    server = peer(serve_bytes(b"HTTP/1.1 204 No Content\r\n" + rest))
    assert [
        each.status for each in run(send(*[build_claimed_delivery(build_base_url(server))] * 3, attempt_timeout=30))
    ] == [204] * 3
    assert server.connections == connections


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1  200  OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200",
        b"http/1.1 200 ok",
        b"HTTP/1.1 200 r\xf8d gr\xf8d",
        b"HTTP/1.1 200 " + b"a" * 100_000,
        b"\r\n\r\nHTTP/1.1 200 OK",
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_send_parses_unusual_status_lines(run, peer, line, end):
    response_bytes = line.replace(b"\r\n", end) + end + b"Content-Length: 3" + end * 2 + b"tak"
    assert run(send_one(build_base_url(peer(serve_bytes(response_bytes))), attempt_timeout=30)) == ReceiverResponse(
        200, None, "tak"
    )


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 199 Something\r\nTransfer-Encoding: chunked\r\nRetry-After: 9\r\n\r\n",
        b"".join(b"HTTP/1.1 %d X\r\n\r\n" % status for status in (100, 102, 103, 103, 150) * 20),
    ],
    ids=["100", "102", "103", "199", "100 of them"],
)
@pytest.mark.parametrize("size", [None, 1])
def test_send_skips_interim_responses(run, peer, interim, size):
    server = peer(serve_bytes(interim + OK, size))
    assert (
        run(send(*[build_claimed_delivery(build_base_url(server))] * 2, attempt_timeout=30))
        == [ReceiverResponse(200, None, "tak")] * 2
    )
    assert server.connections == 1


def test_send_treats_101_as_final(run, peer):
    response_bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00"
    assert run(send_one(build_base_url(peer(serve_bytes(response_bytes))))).status == 101


@pytest.mark.parametrize(
    ("fields", "body", "connections"),
    [
        ("Content-Length: 3\r\n", "tak", 1),
        (f"X: {'a' * 9000}\r\nContent-Length: 3\r\n", "tak", 1),
        (CHUNKED, WHOLE, 1),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "tak", 1),
        ("Content-Length: 3\r\nConnection: Keep-Alive, Close\r\n", "tak", 3),
        (f"{CHUNKED}Content-Length: 3\r\n", WHOLE, 3),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "tak", 3),
    ],
)
def test_send_keeps_connections_with_unambiguous_framing(run, peer, fields, body, connections):
    server = peer(serve_bytes(encode_raw_response(fields, body)))
    responses = run(send(*[build_claimed_delivery(build_base_url(server))] * 3, attempt_timeout=30))
    assert [each.status for each in responses] == [200] * 3
    assert server.connections == connections


@pytest.mark.parametrize(
    "fields",
    ["Content-Length: 9\r\n", "Content-Length: 9, 9\r\n", CHUNKED, f"{CHUNKED}Content-Length: 5\r\n"],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Gone"])
def test_send_does_not_count_a_truncated_body(run, peer, fields, status):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(encode_raw_response(f"X: {'a' * 9000}\r\n{fields}", "5\r\nab", status))

    response = run(send_one(build_base_url(peer(serve)), attempt_timeout=30))
    assert (response.status, response.reason) == (None, Reason.LOST)


def test_send_counts_a_status_before_the_end_of_an_unframed_body(run, peer):
    closed = queue.SimpleQueue()

    def serve(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\ntak")
        closed.put(connection.recv(1))

    assert run(send_one(build_base_url(peer(serve)), attempt_timeout=30)) == ReceiverResponse(200, None, "tak")
    assert closed.get(timeout=10) == b""


def test_send_reads_retry_after_next_to_unusual_fields(run, peer):
    fields = f"X: {'a' * 9000}\r\nRetry-After:\r\n 120\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    response = run(send_one(build_base_url(peer(serve_bytes(encode_raw_response(fields, "", "503 Busy"))))))
    assert response == ReceiverResponse(503, Reason.HTTP, retry_after=120)


def parse_head(data: bytes, size: int):
    reader = HeadReader()
    for start in range(0, len(data), size):
        if (head := reader.feed(data[start : start + size])) is not None:
            return head.text, head.has_body, head.rest + data[start + size :]
    return None


@pytest.mark.parametrize("case", ODD)
def test_head_reader_is_independent_of_chunks(case):
    data = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n" + encode_raw_response(*ODD[case][:2])
    expected = parse_head(data, len(data))
    assert expected is not None
    sizes = [1, 2, 3, 5, 7, 64, 4096] if len(data) < 2000 else [977, 8191, 65536]
    assert {parse_head(data, size) for size in sizes} == {expected}


def test_head_reader_stores_little():
    reader = HeadReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    for _ in range(5):
        assert reader.feed(b"Retry-After: " + b"a" * 100_000) is None
        assert len(reader._line) <= MAX_LINE
        reader.feed(b"\r\n")
    for _ in range(1000):
        reader.feed(b"Content-Length: 3\r\n" * 10)
    assert sum(len(value) for values in reader._fields.values() for value in values) <= MAX_KEPT


def test_head_reader_ends_an_endless_head():
    reader = HeadReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    for _ in range(MAX_HEAD // 1000 - 1):
        assert reader.feed(b"X: " + b"a" * 995 + b"\r\n") is None
    with pytest.raises(HeadMalformed):
        reader.feed(b"a" * 2000)
