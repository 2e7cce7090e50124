"""Request heads: bounded, and rejected in the form of the contracts if they are not HTTP."""

import json
import re
from collections.abc import Iterator

import pytest

from conftest import MESSAGES_KEY, RunningService, running_service
from openapi.server.protocol import MAX_HEAD_BYTES
from tests.raw_http import RawConnection, send_request


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Iterator[RunningService]:
    path = tmp_path_factory.mktemp("protocol") / "test.db"
    path.write_bytes(migrated_sqlite)
    with running_service(database_url=f"sqlite:///{path}") as running:
        yield running


@pytest.mark.parametrize("data", [b"garbage\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_data_that_is_not_http_gets_400_and_closes_the_connection(service: RunningService, data: bytes) -> None:
    with RawConnection(service.port) as connection:
        connection.send(data)
        response = connection.read_response()
        assert response.status == 400
        assert response.headers["content-type"] == "application/problem+json"
        assert json.loads(response.body)["status"]["statusCode"] == 400
        assert connection.is_ended()


def test_head_within_the_limit_is_accepted(service: RunningService) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\n\r\n" % (b"x" * (MAX_HEAD_BYTES - 1000))
    assert send_request(service.port, head).status == 200


def test_endless_head_gets_431_and_closes_the_connection(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        try:
            for number in range(10_000):
                connection.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))
        except ConnectionError:
            return
        response = connection.read_response()
        assert response.status == 431


def test_endless_header_gets_431_and_closes_the_connection(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: ")
        # What arrives together with the beginning is not counted.
        for _ in range(6 * MAX_HEAD_BYTES // 1000):
            connection.send(b"x" * 1000)
        assert connection.read_response().status == 431
        assert connection.is_ended()


def test_second_request_of_a_connection_has_its_own_limit(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        for _ in range(4):
            filler = b"x" * (MAX_HEAD_BYTES - 1000)
            connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\n\r\n" % filler)
            assert connection.read_response().status == 200


def test_body_does_not_count_as_head(service: RunningService) -> None:
    body = b" " * (4 * MAX_HEAD_BYTES)
    head = b"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: wrong\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert send_request(service.port, head + body).status == 401


def test_pipelined_requests_are_answered_in_order(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().status == 200
        assert connection.read_response().status == 404


def assert_refused(service: RunningService, data: bytes, status: int) -> None:
    """Send bytes that get one problem as the response, after which the connection is closed."""
    with RawConnection(service.port) as connection:
        connection.send(data)
        response = connection.read_response()
        assert (response.status, response.headers["content-type"]) == (status, "application/problem+json")
        assert json.loads(response.body)["status"]["statusCode"] == status
        assert connection.is_ended()


@pytest.mark.parametrize("version", [b"2.0", b"3.0", b"2"])
def test_request_of_another_http_version_is_rejected(service: RunningService, version: bytes) -> None:
    status = 505 if version == b"2.0" else 400
    assert_refused(service, b"GET /health/live HTTP/%s\r\nHost: x\r\n\r\n" % version, status)


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"x", b"x"],
        [b"x", b"y"],
        [b"a b"],
        [b"a/b"],
        [b"x:y"],
        [b"x:1:2"],
        [b"user@x"],
        [b"[::1"],
        [b"::1"],
        [b"x,y"[:1] + b"\xff"],
        [b"<x>"],
    ],
)
def test_request_without_exactly_one_valid_host_is_rejected(service: RunningService, hosts: list[bytes]) -> None:
    lines = b"".join(b"Host: %s\r\n" % host for host in hosts)
    assert_refused(service, b"GET /health/live HTTP/1.1\r\n%s\r\n" % lines, 400)


@pytest.mark.parametrize(
    "host", [b"x", b"X.example.:8080", b"[::1]:80", b"127.0.0.1", b"xn--rksmrgs-5wao1o.se", b"", b"x:"]
)
def test_request_with_a_valid_host_is_accepted(service: RunningService, host: bytes) -> None:
    assert send_request(service.port, b"GET /health/live HTTP/1.1\r\nHost: %s\r\n\r\n" % host).status == 200


def test_request_of_http_1_0_needs_no_host(service: RunningService) -> None:
    assert send_request(service.port, b"GET /health/live HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize("filler", [b"X: " + b"x" * 130_000, b"\r\n".join([b"X: " + b"x" * 1000] * 130)])
def test_head_in_one_packet_is_limited_too(service: RunningService, filler: bytes) -> None:
    assert_refused(service, b"GET /health/live HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % filler, 431)


def build_post(message: str = "x") -> bytes:
    body = json.dumps({"message": message, "externalReferences": [{"key": "half", "value": "closed"}]}).encode()
    head = b"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: %s\r\nContent-Type: application/json\r\n"
    return head % MESSAGES_KEY.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_client_that_half_closes_gets_its_responses(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(build_post() + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + build_post())
        connection.end_sending()
        assert [connection.read_response().status for _ in range(3)] == [201, 404, 201]
        assert connection.is_ended()
    found = service.client.get("/webmessages/external-references/half/closed").json()
    assert len(found) == 2


BAD_REQUESTS = {
    "malformed": b"\0",
    "cut off in the head": b"GET /nowhere HTTP/1.1\r\n",
    "cut off in the body": b"POST /webmessages HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "malformed body": b"POST /webmessages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "malformed behind one that waits": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n\0",
}


@pytest.mark.parametrize("rest", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_client_that_half_closes_after_a_bad_request_gets_the_previous_response(
    service: RunningService, rest: bytes
) -> None:
    with RawConnection(service.port) as connection:
        connection.send_last(build_post() + rest)
        assert connection.read_response().status == 201
        assert connection.is_ended()


def test_response_before_a_bad_request_is_the_last_one(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(build_post() + BAD_REQUESTS["malformed behind one that waits"])
        assert connection.read_response().status == 201
        assert connection.is_ended()


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_truncated_request_is_rejected(service: RunningService, cut: int) -> None:
    with RawConnection(service.port) as connection:
        connection.send(build_post("cut")[:cut])
        connection.end_sending()
        assert connection.read_response().status == 400
        assert connection.is_ended()


def test_client_that_stops_a_refused_body_is_not_malformed(service: RunningService) -> None:
    before = count_malformed(service, "cut_off")
    head = f"POST /webmessages HTTP/1.1\r\nHost: x\r\nContent-Length: {10**9}\r\napikey: {MESSAGES_KEY}\r\n"
    with RawConnection(service.port) as connection:
        connection.send(head.encode() + b"Content-Type: application/json\r\n\r\n{")
        assert connection.read_response().status == 413
        connection.end_sending()
        assert connection.is_ended()
    assert count_malformed(service, "cut_off") == before


def test_connection_without_a_request_is_closed_silently(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.end_sending()
        assert connection.is_ended()


def count_malformed(service: RunningService, reason: str) -> float:
    text = service.client.get("/metrics").text
    (count,) = re.findall(rf'^budkavle_malformed_requests_total{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    return float(count)


def test_malformed_requests_are_counted_by_reason(service: RunningService) -> None:
    before = count_malformed(service, "host"), count_malformed(service, "version")
    assert_refused(service, b"GET /health/live HTTP/1.1\r\n\r\n", 400)
    assert (count_malformed(service, "host"), count_malformed(service, "version")) == (before[0] + 1, before[1])


def test_head_of_a_response_to_head_is_sent(service: RunningService) -> None:
    response = send_request(service.port, b"HEAD /docs HTTP/1.1\r\nHost: x\r\n\r\n", has_body=False)
    assert (response.status, response.body) == (200, b"")
