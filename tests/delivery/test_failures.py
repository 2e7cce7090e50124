"""Each way in which a call can fail to get a response, with a receiver that behaves so."""

import socket
import ssl
import struct

import aiohttp
import pytest

from delivery.failures import map_error
from delivery.response_heads import MAX_HEAD
from domain.deliveries import Reason, ReceiverResponse
from tests.certificates import DAY, TODAY
from tests.delivery.receiving import (
    OK,
    Recorder,
    build_base_url,
    build_claimed_delivery,
    build_receiver,
    send,
    send_one,
    serve_over_tls,
)
from tests.open_e.peers import encode_response, read_request, send_slowly

QUICK = {"connect_timeout": 0.3, "attempt_timeout": 0.3}


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def serve_bytes(response_bytes: bytes):
    """Return a receiver that reads the request, sends this and closes the connection."""

    def serve(connection, _):
        read_request(connection)
        connection.sendall(response_bytes)

    return serve


def find_unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_unknown_name_fails(run):
    response = run(send_one("http://receiver.invalid/star"))
    assert (response.status, response.reason) == (None, Reason.NAME)


@pytest.mark.parametrize("name", ["a" * 64, "xn--0", "a..b"])
def test_invalid_name_fails(run, name):
    assert run(send_one(f"http://{name}.example/star")).reason in {Reason.NAME, Reason.ADDRESS}


def test_refused_connection_fails(run):
    response = run(send_one(f"http://127.0.0.1:{find_unused_port()}/star"))
    assert response == ReceiverResponse(None, Reason.CONNECT, detail=response.detail)
    assert response.detail


def test_connection_timeout_fails(run):
    # No one accepts, and the backlog of one is full, so the next connection is neither accepted nor refused.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        response = run(send_one(url, connect_timeout=0.3))
    assert (response.reason, response.detail) == (Reason.TIMEOUT, "while connecting")


def test_handshake_timeout_fails(run, peer):
    server = peer(lambda connection, _: connection.recv(65536) and connection.recv(1))
    response = run(send_one(build_base_url(server, scheme="https"), connect_timeout=0.3))
    assert (response.reason, response.detail) == (Reason.TIMEOUT, "while connecting")


@pytest.mark.parametrize(
    "serve",
    [
        lambda connection, _: read_request(connection) and connection.recv(1),
        lambda connection, _: send_slowly(connection, OK),
        lambda connection, _: read_request(connection) and send_slowly(connection, encode_response(b"a" * 1000)),
        lambda connection, _: read_request(connection) and (connection.sendall(OK[:-1]), connection.recv(1)),
    ],
    ids=["silence", "a slow head", "a slow body", "the last byte is missing"],
)
def test_response_timeout_fails(run, peer, serve):
    response = run(send_one(build_base_url(peer(serve)), **QUICK))
    assert (response.status, response.reason) == (None, Reason.TIMEOUT)


@pytest.mark.parametrize(
    "serve",
    [
        lambda connection, _: reset(connection),
        lambda connection, _: read_request(connection) and reset(connection),
        serve_bytes(b""),
        serve_bytes(b"HTTP/1.1 200 OK\r\nContent-Le"),
        serve_bytes(OK[:-1]),
        serve_bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    ],
    ids=["reset at once", "reset later", "closed", "closed in the head", "closed in the body", "closed in a chunk"],
)
def test_lost_connection_fails(run, peer, serve):
    response = run(send_one(build_base_url(peer(serve)), attempt_timeout=5))
    assert (response.status, response.reason) == (None, Reason.LOST)


@pytest.mark.parametrize(
    "response_bytes",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" * 10,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"\r\nhello\r\n",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD + 1),
        b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HEAD // 20),
    ],
    ids=["ssh", "tls", "status", "two digits", "zero", "text", "smtp", "endless head", "endless interim responses"],
)
def test_response_that_is_not_http_fails(run, peer, response_bytes):
    response = run(send_one(build_base_url(peer(serve_bytes(response_bytes))), attempt_timeout=5))
    assert (response.status, response.reason) == (None, Reason.GARBAGE)
    assert "OpenSSH" not in response.detail


def test_closed_kept_connection_causes_no_second_post(run, peer):
    requests = []

    def serve(connection, _):
        for response_bytes in (OK, b""):
            requests.append(read_request(connection))
            connection.sendall(response_bytes)

    server = peer(serve)
    first, second = run(send(*[build_claimed_delivery(build_base_url(server))] * 2))
    assert (first.status, second.reason) == (200, Reason.LOST)
    assert (len(requests), server.connections) == (2, 1)


def test_certificate_of_an_unknown_ca_fails(run, peer, authority):
    recorder = Recorder()
    server = peer(serve_over_tls(recorder, authority.issue("127.0.0.1")))
    response = run(send_one(build_base_url(server, scheme="https")))
    assert (response.status, response.reason) == (None, Reason.TLS)
    assert "certificate" in response.detail
    assert recorder.requests == []


@pytest.mark.parametrize("name", ["127.0.0.2", "elsewhere.example"])
def test_certificate_of_another_host_fails(run, peer, authority, name):
    server = peer(serve_over_tls(Recorder(), authority.issue(name)))
    response = run(send_one(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{authority.file}")))
    assert (response.status, response.reason) == (None, Reason.TLS)


def test_expired_certificate_fails(run, peer, authority):
    expired = authority.issue("127.0.0.1", begins=TODAY - 2 * DAY, ends=TODAY - DAY)
    server = peer(serve_over_tls(Recorder(), expired))
    response = run(send_one(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{authority.file}")))
    assert (response.reason, response.detail) == (Reason.TLS, "certificate has expired")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_receiver_that_requires_a_client_certificate_fails(run, peer, authority, version):
    recorder = Recorder()
    server = peer(serve_over_tls(recorder, authority.issue("127.0.0.1"), clients=authority, version=version))
    response = run(send_one(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{authority.file}")))
    assert (response.status, response.reason) == (None, Reason.TLS)
    assert recorder.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_receiver_that_rejects_our_certificate_fails(run, peer, authority, other_authority, version):
    recorder = Recorder()
    server = peer(serve_over_tls(recorder, authority.issue("127.0.0.1"), clients=authority, version=version))
    shown = f"file:{other_authority.issue().file}"
    to = build_receiver(
        build_base_url(server, scheme="https"), ca=f"file:{authority.file}", certificate=shown, key=shown
    )
    response = run(send_one(to))
    assert (response.status, response.reason) == (None, Reason.TLS)
    assert recorder.requests == []


@pytest.mark.parametrize(
    "serve",
    [lambda connection, _: connection.recv(1), lambda connection, _: connection.sendall(OK)],
    ids=["ends the handshake", "speaks no TLS"],
)
def test_receiver_without_tls_fails(run, peer, serve):
    response = run(send_one(build_base_url(peer(serve), scheme="https")))
    assert (response.status, response.reason) == (None, Reason.TLS)


@pytest.mark.parametrize("url", ["http://127.1/star", "http://2130706433/star", "ftp://a/star"])
def test_address_that_cannot_be_called_fails(run, url):
    response = run(send_one(url))
    assert (response.status, response.reason) == (None, Reason.ADDRESS)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), Reason.TIMEOUT),
        (aiohttp.SocketTimeoutError(), Reason.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Reason.TIMEOUT),
        (aiohttp.ServerDisconnectedError(), Reason.LOST),
        (aiohttp.ClientConnectionResetError(), Reason.LOST),
        (aiohttp.ClientConnectionError(), Reason.LOST),
        (BrokenPipeError(), Reason.LOST),
        (OSError(), Reason.LOST),
        (aiohttp.ClientError(), Reason.LOST),
        (ssl.SSLError(), Reason.TLS),
        (RuntimeError(), Reason.CONNECT),
    ],
)
def test_failed_has_a_reason_for_every_error(error, reason):
    assert map_error(error, is_tls=False).reason is reason
