"""Connections: their maximum number, and the maximum time of each wait for a client."""

import os
import re
import resource
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from budkavle.settings import Settings
from conftest import MESSAGES_KEY, RunningService, running_server, running_service
from tests.budkavle.services import running_program
from tests.certificates import Authority
from tests.factories import build_case_body
from tests.handlers.messages import post_message
from tests.held_open_e import held_open_e
from tests.raw_http import RawConnection
from tests.waiting import block_until

SHORT = 0.4
"""Seconds of a limit that a test exceeds."""

LONG = 300
"""Seconds of a limit that no test exceeds."""

BODY = b'{"message": "x", "externalReferences": [{"key": "slow", "value": "body"}]}'
HEAD = (
    b"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: %s\r\nContent-Type: application/json\r\n" % MESSAGES_KEY.encode()
    + b"Content-Length: %d\r\n\r\n" % len(BODY)
)
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"

Serve = Callable[..., RunningService]


@pytest.fixture
def serve(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[Serve]:
    """Run a service in which only the given limits are short."""
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    limits = dict.fromkeys(("head_timeout", "body_timeout", "idle_timeout", "reader_timeout"), LONG)
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running_service(database_url=f"sqlite:///{path}", **(limits | settings))
        )


def count_closed(service: RunningService, reason: str) -> float:
    text = service.client.get("/metrics").text
    (count,) = re.findall(rf'^budkavle_closed_connections_total{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    return float(count)


def send_slowly(connection: RawConnection, data: bytes) -> bool:
    """Send a byte every tenth of a second; return False if a response arrives before the last one."""
    for byte in data:
        connection.send(bytes([byte]))
        if select.select([connection.socket], [], [], 0.1)[0]:
            return False
    return True


@pytest.mark.parametrize("start", [b"G", b"GET /health/live HTTP/1.1\r\nHost: x\r\n", HEAD[:-1]])
def test_unfinished_head_gets_408(serve: Serve, start: bytes) -> None:
    service = serve(head_timeout=SHORT)
    before = count_closed(service, "head")
    with RawConnection(service.port) as connection:
        connection.send(start)
        response = connection.read_response()
        assert (response.status, response.headers["content-type"]) == (408, "application/problem+json")
        assert connection.is_ended()
    assert count_closed(service, "head") == before + 1


def test_slow_head_gets_408(serve: Serve) -> None:
    service = serve(head_timeout=SHORT)
    with RawConnection(service.port) as connection:
        assert not send_slowly(connection, b"GET /" + b"x" * 1000)
        assert connection.read_response().status == 408


def test_second_head_of_a_connection_is_limited_too(serve: Serve) -> None:
    service = serve(head_timeout=SHORT)
    with RawConnection(service.port) as connection:
        connection.send(LIVE + LIVE[:10])
        assert connection.read_response().status == 200
        assert connection.read_response().status == 408
        assert connection.is_ended()


@pytest.mark.parametrize("received", [b"", BODY[:-1]])
def test_unfinished_body_gets_408(serve: Serve, received: bytes) -> None:
    service = serve(body_timeout=SHORT)
    before = count_closed(service, "body")
    with RawConnection(service.port) as connection:
        connection.send(HEAD + received)
        response = connection.read_response()
        assert (response.status, response.headers["content-type"]) == (408, "application/problem+json")
        assert connection.is_ended()
    assert count_closed(service, "body") == before + 1
    assert service.client.get("/webmessages/external-references/slow/body").json() == []


def test_unfinished_chunked_body_gets_408(serve: Serve) -> None:
    service = serve(body_timeout=SHORT)
    with RawConnection(service.port) as connection:
        connection.send(re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", HEAD) + b"1\r\n{\r\n")
        assert connection.read_response().status == 408


def test_body_with_steady_progress_is_accepted(serve: Serve) -> None:
    service = serve(body_timeout=SHORT, head_timeout=SHORT, idle_timeout=SHORT)
    with RawConnection(service.port) as connection:
        connection.send(HEAD + BODY[:-20])
        assert send_slowly(connection, BODY[-20:-1])
        connection.send(BODY[-1:])
        assert connection.read_response().status == 201


def test_body_that_continues_after_its_response_is_limited_too(serve: Serve) -> None:
    service = serve(body_timeout=SHORT)
    with RawConnection(service.port) as connection:
        connection.send(HEAD.replace(MESSAGES_KEY.encode(), b"wrong") + BODY[:5])
        assert connection.read_response().status == 401
        assert connection.is_ended()


@pytest.mark.parametrize("first", [b"", LIVE, b"\r\n"])
def test_idle_connection_is_closed_silently(serve: Serve, first: bytes) -> None:
    service = serve(idle_timeout=SHORT)
    before = count_closed(service, "idle")
    with RawConnection(service.port) as connection:
        connection.send(first)
        if first == LIVE:
            assert connection.read_response().status == 200
        assert connection.is_ended()
    assert count_closed(service, "idle") > before


def test_unread_response_closes_the_connection(serve: Serve) -> None:
    service = serve(reader_timeout=SHORT)
    data = os.urandom(9 * 2**20)
    files: list[Any] = [("message", (None, BODY, "application/json"))]
    files += [("attachments", (f"{number}.bin", data)) for number in range(3)]
    location = service.client.post("/webmessages", files=files).headers["location"]
    before = count_closed(service, "reader")
    with RawConnection(service.port) as connection:
        connection.send(
            b"GET %s HTTP/1.1\r\nHost: x\r\napikey: %s\r\n\r\n" % (location.encode(), MESSAGES_KEY.encode())
        )
        block_until(lambda: count_closed(service, "reader") != before)
        # Bytes in flight arrive, and no others: the kernel may report the end as a reset.
        read = 0
        with suppress(ConnectionResetError):
            read = len(connection.read_all())
        assert read < 3 * len(data)


def test_running_request_is_never_interrupted(serve: Serve) -> None:
    with held_open_e() as held, ThreadPoolExecutor(1) as callers:
        service = serve(
            open_e_external_url=held.url,
            max_connections=16,
            **dict.fromkeys(("head_timeout", "body_timeout", "idle_timeout", "reader_timeout"), SHORT),
        )
        response = callers.submit(service.client.post, "/webmessages", json=build_case_body())
        held.wait_for_calls(1)
        for _ in range(3):
            with RawConnection(service.port) as witness:
                assert witness.is_ended()
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(RawConnection(service.port)).send(LIVE[:5])
            assert post_message(service)
        held.release_calls()
        assert response.result().status_code == 201


def test_longest_idle_connection_is_closed_for_a_new_one(serve: Serve) -> None:
    service = serve(max_connections=16)
    before = count_closed(service, "limit")
    with ExitStack() as stack:
        opened: list[RawConnection] = []
        starts = [b"", LIVE[:5], HEAD, HEAD + BODY[:5]]
        for number in range(60):
            connection = stack.enter_context(RawConnection(service.port))
            connection.send(starts[number % 4])
            opened.append(connection)
        with RawConnection(service.port) as connection:
            connection.send(LIVE)
            assert connection.read_response().status == 200
        assert opened[0].is_ended()
        # The last connection can still complete its request.
        opened[-1].send(BODY[5:])
        assert opened[-1].read_response().status == 201
    assert count_closed(service, "limit") >= before + 40


def test_connection_that_made_a_request_is_closed_after_one_that_made_none(serve: Serve) -> None:
    service = serve(max_connections=16)
    with ExitStack() as stack:
        old = [stack.enter_context(RawConnection(service.port)) for _ in range(5)]
        with RawConnection(service.port) as after_all:
            # Connections are accepted in order, so all are accepted now.
            after_all.send(LIVE)
            assert after_all.read_response().status == 200
        for connection in old[:2]:
            connection.send(LIVE)
            assert connection.read_response().status == 200
        others = [stack.enter_context(RawConnection(service.port)) for _ in range(13)]
        others[-1].send(LIVE)
        assert others[-1].read_response().status == 200
        assert old[2].is_ended()
        old[0].send(LIVE)
        assert old[0].read_response().status == 200


def test_connections_are_limited_over_tls_and_close_without_a_trace(serve: Serve) -> None:
    """A client that disconnects at any moment leaves the count of open connections correct."""
    service = serve()

    def open_connections() -> float:
        text = service.client.get("/metrics").text
        return float(re.findall(r"^budkavle_open_connections (\S+)$", text, re.MULTILINE)[0])

    before = open_connections()
    connections: list[Any] = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.sendall([b"", LIVE, LIVE[:4], HEAD][number % 4])
    block_until(lambda: open_connections() >= before + 20)
    for connection in connections:
        connection.close()
    block_until(lambda: open_connections() <= before)


def test_slow_reader_at_the_connection_limit_releases_its_descriptor() -> None:
    """Its response is complete for the application, but larger than the kernel's buffer."""
    application = Starlette(routes=[Route("/", lambda _request: Response(bytes(20 * 2**20)))])
    settings = Settings(max_connections=16, reader_timeout=LONG)

    def open_connections() -> float:
        return REGISTRY.get_sample_value("budkavle_open_connections") or 0.0

    def count_sockets() -> int:
        number = 0
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                number += str(link.readlink()).startswith("socket:")
        return number

    before = open_connections()
    with running_server(settings, application, is_service=False) as url, ExitStack() as stack:
        sockets = count_sockets()
        port = httpx.URL(url).port or 0
        for _ in range(3):
            reader = stack.enter_context(RawConnection(port))
            reader.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.socket.recv(15) == b"HTTP/1.1 200 OK"
        idle = [stack.enter_context(RawConnection(port)) for _ in range(40)]
        assert idle[0].is_ended()
        while open_connections() > before + 16:
            pass
        # Each client's own descriptor is of this process, too.
        while count_sockets() > sockets + len(idle) + 3 + 16:
            pass


@pytest.mark.parametrize("is_tls", [False, True])
def test_lack_of_file_descriptors_is_logged_and_recovers(
    sqlite_url: str, authority: Authority, *, is_tls: bool
) -> None:
    """Unfinished TLS handshakes, which are not connections yet, also use descriptors."""
    file = authority.issue("127.0.0.1").file
    tls = {"tls_cert": file, "tls_key": file} if is_tls else {}
    with running_program(sqlite_url, **tls) as service:
        pid = service.process.pid
        descriptors = Path(f"/proc/{pid}/fd")
        used = len(list(descriptors.iterdir()))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        with ExitStack() as stack:
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
            for _ in range(60):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            block_until(lambda: any("file_descriptors_exhausted" in line for line in service.process.err))
        block_until(lambda: len(list(descriptors.iterdir())) <= used + 5)
        with authority.client(service.url) if is_tls else nullcontext(service.client) as client:
            assert client.get("/health/live").status_code == 200
    assert not any("Traceback" in line for line in service.process.err)
