"""Signals: running requests end, new ones are refused."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from budkavle.serving import CannotListen, address_of, listen
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import put_key, served
from tests.factories import case_body
from tests.held_open_e import HeldOpenE
from tests.processes import SECONDS, budkavle, result_of, running


def wait_until_refused(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # It waited to be accepted when the socket was closed.
            continue


def test_serve_ends_running_requests_and_refuses_new_ones(sqlite_url: str, held: HeldOpenE, invoke: Invoke) -> None:
    put_key(sqlite_url)
    with served(sqlite_url, open_e_external_url=held.url) as service, ThreadPoolExecutor(1) as caller:
        answer = caller.submit(service.client.post, "/webmessages", json=case_body())
        held.wait_for_calls(1)
        service.process.send(signal.SIGTERM)
        wait_until_refused(service.port)
        held.let_go()
        assert answer.result(SECONDS).status_code == 201
        assert service.process.wait() == 0
        assert [json.loads(line)["status"] for line in service.process.err] == [201]
    listed = invoke(sqlite_url, "messages", "list")
    assert (listed.exit_code, listed.output) == (0, "")


def test_serve_gives_running_requests_no_longer_than_is_set(sqlite_url: str, held: HeldOpenE, invoke: Invoke) -> None:
    put_key(sqlite_url)
    settings = {"open_e_external_url": held.url, "open_e_read_timeout": 3600, "shutdown_timeout": 1}
    with served(sqlite_url, **settings) as service, ThreadPoolExecutor(1) as caller:
        call = caller.submit(service.client.post, "/webmessages", json=case_body())
        held.wait_for_calls(1)
        service.process.send(signal.SIGTERM)
        answer = call.result(20)
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert service.process.wait(20) == 0
    listed = invoke(sqlite_url, "messages", "list")
    assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["sending"]


def test_serve_ends_at_once_when_nothing_runs(sqlite_url: str) -> None:
    with served(sqlite_url, shutdown_timeout=3600) as service:
        assert service.client.get("/health/live").status_code == 200
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        assert len(service.process.err) == 1
        assert service.process.out == [f"Budkavle listens on {service.url}\n"]


def test_commands_say_in_one_line_that_a_port_is_taken(sqlite_url: str, invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in (
            ("serve", "--port", port),
            ("mock-open-e", "--port", port),
            ("dev", "--port", port, "--mock-port", "0"),
        ):
            result = invoke(sqlite_url, *command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        for arguments in (("--mock-port", port, "--receiver-port", "0"), ("--mock-port", "0", "--receiver-port", port)):
            done = result_of(*budkavle("dev", "--port", "0", *arguments), database_url=sqlite_url)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        done = result_of(*budkavle("worker"), database_url=sqlite_url, worker_port=port)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_mock_open_e_listens_until_a_signal() -> None:
    with running(*budkavle("mock-open-e", "--port", "0", "--case", "7")) as process:
        url = process.wait_for("The mock Open-E listens on ")
        assert httpx.get(f"{url}/control/messages", trust_env=False).json() == []
        assert httpx.get(url, trust_env=False).status_code == 200
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert process.err == []


def test_listen_takes_a_free_port_and_refuses_a_taken_one() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert address_of(first) == f"http://127.0.0.1:{port}"
        assert address_of(first, tls=True) == f"https://127.0.0.1:{port}"
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b", "x" * 70])
def test_listen_refuses_an_address_that_is_not_of_this_machine(host: str) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        listen(host, 0)
