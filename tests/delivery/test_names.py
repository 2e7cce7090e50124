"""Resolution of receivers' names."""

import asyncio
import socket
import ssl
import threading
from urllib.parse import urlsplit

import pytest

from delivery.addresses import AddressRefused
from delivery.names import CheckingResolver, ThreadResolver
from domain.deliveries import Reason
from tests.delivery.receiving import (
    Addresses,
    Recorder,
    build_base_url,
    build_claimed_delivery,
    build_receiver,
    send,
    send_one,
)


def test_names_are_resolved_by_this_machine(run):
    found = run(ThreadResolver().resolve("localhost", 80))
    assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}
    assert {each["port"] for each in found} == {80}
    assert all(each["family"] in {socket.AF_INET, socket.AF_INET6} for each in found)


@pytest.mark.parametrize("name", ["receiver.invalid", "a" * 64 + ".example", "ø" * 70])
def test_unknown_names_raise(run, name):
    with pytest.raises(socket.gaierror):
        run(ThreadResolver().resolve(name, 80))


def test_names_with_a_final_dot_are_found_in_the_hosts_file(run):
    found = run(ThreadResolver().resolve("localhost.", 80))
    assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", ["localhost", "localhost."])
def test_send_drops_the_final_dot_of_a_host(run, peer, authority, name):
    names, recorder = [], Recorder()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("localhost").file)
    context.sni_callback = lambda _, shown, __: names.append(shown)

    def serve(connection, number):
        with context.wrap_socket(connection, server_side=True) as encrypted:
            recorder(encrypted, number)

    server = peer(serve)
    to = build_receiver(build_base_url(server, name, "https"), ca=f"file:{authority.file}")
    assert run(send_one(to)).status == 200
    assert names == ["localhost"]
    assert recorder.headers()["host"] == f"localhost:{urlsplit(server.url).port}"


def test_send_checks_the_addresses_of_a_host_with_a_final_dot(run, peer):
    server = peer(Recorder())
    response = run(send_one(build_receiver(build_base_url(server, "localhost."), allow_private_addresses=False)))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)
    assert server.connections == 0


def test_abandoned_look_ups_end_silently(run):
    async def left_behind():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        task = asyncio.create_task(ThreadResolver().resolve("localhost", 80))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for thread in threading.enumerate():
            if thread.name == "look up localhost":
                await asyncio.to_thread(thread.join, 30)
        # Callbacks that the thread scheduled on the loop run before later ones.
        assert await ThreadResolver().resolve("localhost", 80)
        return complaints

    assert run(left_behind()) == []


def test_names_with_one_refused_address_are_refused(run):
    names = Addresses("8.8.8.8", "10.0.0.1")
    assert len(run(CheckingResolver(names, allow_private=True).resolve("a", 80))) == 2
    with pytest.raises(AddressRefused, match=r"^10\.0\.0\.1$"):
        run(CheckingResolver(names, allow_private=False).resolve("a", 80))


def test_name_without_addresses_is_an_error(run):
    assert run(send_one("http://receiver.example", resolver=Addresses())).reason is Reason.NAME


def test_hanging_look_up_ends_at_the_connect_timeout_and_delays_no_others(run, peer):
    class Silent(Addresses):
        async def resolve(self, host, port=0, family=0):
            if host == "silent.example":
                await asyncio.Event().wait()
            return await super().resolve(host, port, family)

    server = peer(Recorder())
    silent, other = (
        build_receiver(build_base_url(server, "silent.example")),
        build_receiver(build_base_url(server, "other.example")),
    )
    options = {"connect_timeout": 0.3, "resolver": Silent("127.0.0.1")}
    first, second = run(send(build_claimed_delivery(silent), build_claimed_delivery(other), **options))
    assert (first.reason, second.status) == (Reason.TIMEOUT, 200)


def test_failure_to_start_a_look_up_thread_ends_the_attempt(run):
    class Exhausted(Addresses):
        async def resolve(self, host, port=0, family=0):
            raise RuntimeError("can't start new thread")

    assert run(send_one("http://receiver.example", resolver=Exhausted())).reason is Reason.CONNECT
