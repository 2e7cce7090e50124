"""Signals: running requests complete, new ones are refused."""

import asyncio
import gc
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from budkavle.service import build_server_config
from budkavle.settings import Settings
from domain.web_messages import UNSETTLED_STATES
from openapi.server.serving import CannotListen, FullCollections, QuietServer, build_address, listen
from persistence.web_messages import list_unsettled
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import KEY, put_key, running_program
from tests.databases import run_with_database
from tests.factories import build_case_body, build_message_body
from tests.held_open_e import HeldOpenE
from tests.processes import SECONDS, budkavle, python, run_program, running
from tests.raw_http import RawConnection
from tests.waiting import block_until


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def wait_until_refused(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # It waited to be accepted when the socket was closed.
            continue


def test_serve_completes_running_requests_and_refuses_new_ones(
    sqlite_url: str, held: HeldOpenE, invoke: Invoke
) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url, open_e_external_url=held.url) as service, ThreadPoolExecutor(1) as caller:
        response = caller.submit(service.client.post, "/webmessages", json=build_case_body())
        held.wait_for_calls(1)
        service.process.send(signal.SIGTERM)
        wait_until_refused(service.port)
        held.release_calls()
        assert response.result(SECONDS).status_code == 201
        assert service.process.wait() == 0
        assert [json.loads(line)["status"] for line in service.process.err] == [201]
    listed = invoke(sqlite_url, "messages", "list")
    assert (listed.exit_code, listed.output) == (0, "")


def test_serve_limits_the_time_of_running_requests_at_shutdown(sqlite_url: str, held: HeldOpenE) -> None:
    put_key(sqlite_url)
    settings = {"open_e_external_url": held.url, "open_e_read_timeout": 3600, "shutdown_timeout": 1}
    with running_program(sqlite_url, **settings) as service, ThreadPoolExecutor(1) as caller:
        call = caller.submit(service.client.post, "/webmessages", json=build_case_body())
        held.wait_for_calls(1)
        service.process.send(signal.SIGTERM)
        response = call.result(20)
        assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
        assert service.process.wait(20) == 0
    (message,) = run_with_database(sqlite_url, lambda database: list_unsettled(database, UNSETTLED_STATES, 10))
    assert message.state == "sending"


def test_serve_ends_at_once_without_running_requests(sqlite_url: str) -> None:
    with running_program(sqlite_url, shutdown_timeout=3600) as service:
        assert service.client.get("/health/live").status_code == 200
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        assert len(service.process.err) == 1
        assert service.process.out == [f"Budkavle listens on {service.url}\n"]


def test_commands_report_a_port_in_use_in_one_line(sqlite_url: str, invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        for command in (
            ("serve", "--port", port),
            ("mock-open-e", "--port", port),
            ("dev", "--port", port, "--mock-port", "0"),
        ):
            result = invoke(sqlite_url, *command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        for arguments in (("--mock-port", port, "--receiver-port", "0"), ("--mock-port", "0", "--receiver-port", port)):
            ended = run_program(*budkavle("dev", "--port", "0", *arguments), database_url=sqlite_url)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        ended = run_program(*budkavle("worker"), database_url=sqlite_url, worker_port=port)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_mock_open_e_listens_until_a_signal() -> None:
    with running(*budkavle("mock-open-e", "--port", "0", "--case", "7")) as process:
        url = process.wait_for("The mock Open-E listens on ")
        assert httpx.get(f"{url}/control/messages", trust_env=False, verify=False).json() == []
        assert httpx.get(url, trust_env=False, verify=False).status_code == 200
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert process.err == []


def test_listen_selects_a_free_port_and_refuses_one_in_use() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert build_address(first) == f"http://127.0.0.1:{port}"
        assert build_address(first, tls=True) == f"https://127.0.0.1:{port}"
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b", "x" * 70])
def test_listen_refuses_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        listen(host, 0)


def test_serve_is_not_ready_while_it_drains_and_still_responds(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url, drain_seconds=3600, shutdown_timeout=1) as service:
        assert service.client.get("/health/ready").status_code == 200
        service.process.send(signal.SIGTERM)
        block_until(lambda: service.client.get("/health/ready").status_code != 200)
        ready = service.client.get("/health/ready")
        assert (ready.json()["status"], ready.json()["components"]["database"]) == ("DOWN", "UP")
        posted = service.client.post("/webmessages", json=build_message_body())
        assert (posted.status_code, posted.headers["connection"]) == (201, "close")
        assert service.client.get("/health/live").status_code == 200
        # The second signal skips the rest of the drain time.
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0


def test_serve_ends_after_the_drain(sqlite_url: str) -> None:
    with running_program(sqlite_url, drain_seconds=0.5) as service:
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0


def test_serve_without_a_drain_closes_its_socket_at_once(sqlite_url: str) -> None:
    with running_program(sqlite_url) as service:
        service.process.send(signal.SIGTERM)
        wait_until_refused(service.port)
        assert service.process.wait() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("is_read", [False, True], ids=["queue", "open"])
async def test_shutdown_answers_requests_that_were_sent_before(is_read: bool) -> None:
    """One connection waits in the queue of the listening socket, or is accepted, and its request was not read yet."""
    config = build_server_config(Settings(), answer, lifespan="off")
    config.load()
    server = QuietServer(config)
    server.lifespan = config.lifespan_class(config)
    listener = listen("127.0.0.1", 0)
    await server.startup([listener])
    with socket.create_connection(listener.getsockname(), SECONDS) as client:
        while is_read and not server.server_state.connections:  # noqa: ASYNC110  # uvicorn has no event for it.
            await asyncio.sleep(0)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.shutdown([listener])
        assert client.recv(12) == b"HTTP/1.1 204"


def test_stop_does_not_wait_for_unfinished_bodies_and_logs_no_traceback(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url, body_timeout=0.5, shutdown_timeout=3600) as service, ExitStack() as stack:
        head = f"POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: {KEY}\r\nContent-Length: 300000\r\n\r\n{{".encode()
        for _ in range(20):
            connection = stack.enter_context(RawConnection(service.port))
            connection.send(head)
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        entries = [json.loads(line) for line in service.process.err]
        assert {entry["event"] for entry in entries} <= {"request", "malformed_request_rejected"}
        assert not any("exception" in entry for entry in entries)


def test_cancelled_requests_log_no_traceback(sqlite_url: str, held: HeldOpenE) -> None:
    put_key(sqlite_url)
    settings = {
        "open_e_external_url": held.url,
        "open_e_read_timeout": 3600,
        "shutdown_timeout": 1,
        "record_timeout": 1,
    }
    with running_program(sqlite_url, **settings) as service, ThreadPoolExecutor(10) as callers:
        calls = [callers.submit(service.client.post, "/webmessages", json=build_case_body()) for _ in range(10)]
        held.wait_for_calls(10)
        service.process.send(signal.SIGTERM)
        assert {call.result(30).status_code for call in calls} == {500}
        assert service.process.wait(30) == 0
        assert not any("exception" in json.loads(line) for line in service.process.err)


def test_listen_on_all_addresses_uses_both_families() -> None:
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), SECONDS).close()


def test_peers_of_a_dual_stack_socket_are_logged_by_their_own_address(sqlite_url: str) -> None:
    with running(*budkavle("serve", "--host", "::", "--port", "0"), database_url=sqlite_url) as process:
        port = int(process.wait_for("Budkavle listens on ").rpartition(":")[2])
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{port}/nowhere", trust_env=False, verify=False).status_code == 404
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert [json.loads(line)["peer"] for line in process.err] == ["127.0.0.1", "::1"]


def test_sighup_does_not_end_a_process(sqlite_url: str) -> None:
    with running_program(sqlite_url) as service:
        service.process.send(signal.SIGHUP)
        assert service.client.get("/health/live").status_code == 200
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0


@pytest.mark.anyio
async def test_full_collections_wait_for_large_work_up_to_a_limit() -> None:
    reads: list[bool] = []
    collected: list[int] = []

    def is_busy() -> bool:
        reads.append(len(reads) < 3)
        if len(reads) == 20:
            collections.stop()
        return reads[-1] or len(reads) > 5

    def note(phase: str, information: dict[str, int]) -> None:
        if phase == "start" and information["generation"] == 2:
            collected.append(len(reads))

    collections = FullCollections(is_busy, seconds=0.001)
    gc.callbacks.append(note)
    try:
        await collections.run()
    finally:
        gc.callbacks.remove(note)
    # Busy in turns 1 to 3, idle in 4 and 5, busy from 6 on: the eleventh turn collects anyway.
    assert [number for number in collected if number in {4, 5, 16}] == [4, 5, 16]
    assert not {1, 2, 3, 6, 7, 8} & set(collected)


AT_START = """
import asyncio, gc, os, signal
import uvicorn
from openapi.server.serving import QuietServer, listen, run_loop, run_servers

async def application(scope, receive, send):
    pass

def started():
    visited = len(gc.get_objects())
    collections = gc.get_stats()[2]["collections"]
    kept = [[] for _ in range(1_000_000)]
    print(visited / gc.get_freeze_count(), gc.get_stats()[2]["collections"] - collections)
    os.kill(os.getpid(), signal.SIGTERM)

server = QuietServer(uvicorn.Config(application, lifespan="off", log_config=None))
run_loop(run_servers([(server, listen("127.0.0.1", 0))], started))
"""


def test_full_collections_visit_little_and_do_not_interrupt_work() -> None:
    """A collection of all objects blocked all callers for 80 to 200 ms."""
    result = run_program(*python(AT_START))
    assert (result.returncode, result.stderr) == (0, "")
    visited, collections = map(float, result.stdout.split())
    assert visited < 0.1
    assert collections == 0
