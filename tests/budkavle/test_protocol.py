"""Request heads: bounded, and answered in the form of the contracts when they are no HTTP."""

import json
from collections.abc import Iterator

import pytest

from budkavle.protocol import MAX_HEAD_BYTES
from conftest import RunningService, running_service
from tests.raw_http import RawConnection, request


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Iterator[RunningService]:
    path = tmp_path_factory.mktemp("protocol") / "test.db"
    path.write_bytes(migrated_sqlite)
    with running_service(database_url=f"sqlite:///{path}") as running:
        yield running


@pytest.mark.parametrize(
    "data", [b"garbage\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
def test_what_is_no_http_is_a_400_and_the_end_of_the_connection(service: RunningService, data: bytes) -> None:
    with RawConnection(service.port) as connection:
        connection.send(data)
        answer = connection.read_answer()
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"]["statusCode"] == 400
        assert connection.is_ended()


def test_a_head_within_the_bound_is_read(service: RunningService) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\n\r\n" % (b"x" * (MAX_HEAD_BYTES - 1000))
    assert request(service.port, head).status == 200


def test_a_head_that_never_ends_is_a_431_and_the_end_of_the_connection(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        try:
            for number in range(10_000):
                connection.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))
        except ConnectionError:
            return
        answer = connection.read_answer()
        assert answer.status == 431


def test_a_second_request_of_a_connection_has_a_bound_of_its_own(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        for _ in range(4):
            filler = b"x" * (MAX_HEAD_BYTES - 1000)
            connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\n\r\n" % filler)
            assert connection.read_answer().status == 200


def test_a_body_is_not_counted_as_a_head(service: RunningService) -> None:
    body = b" " * (4 * MAX_HEAD_BYTES)
    head = b"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: wrong\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert request(service.port, head + body).status == 401


def test_pipelined_requests_are_answered_in_order(service: RunningService) -> None:
    with RawConnection(service.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_answer().status == 200
        assert connection.read_answer().status == 404
