import socket
import ssl
import struct
import threading
import time

import pytest
import trustme

from domain.errors import BackendUnavailable, OutcomeUnknown
from domain.web_messages import OepInstance
from open_e.accounts import Account
from open_e.client import OpenEClient
from open_e.connections import MAX_INTERIM_RESPONSES
from tests.open_e.peers import (
    ADDED,
    NEVER,
    build_web_message,
    catch_error_within,
    encode_response,
    read_request,
    send_message,
    send_slowly,
)


def test_add_message_keeps_a_connection_and_no_cookie(peer):
    heads = []

    def serve(connection, _):
        while True:
            heads.append(read_request(connection)[0].lower())
            connection.sendall(encode_response(headers="Set-Cookie: a=b; Path=/\r\n"))

    one = peer(serve)
    client = OpenEClient({OepInstance.EXTERNAL: Account(one.url)}, connect_timeout=1, read_timeout=1, threads=2)
    for _ in range(3):
        assert client.add_message(build_web_message(), added=ADDED, request_id="r") == 151
    client.close()
    assert one.connections == 1
    assert not any("cookie" in head for head in heads)


def test_add_message_opens_a_new_connection_when_the_kept_one_was_closed(peer):
    closed = threading.Event()

    def serve(connection, _):
        read_request(connection)
        connection.sendall(encode_response())
        # Without "Connection: close" the client notices the end only at the socket.
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    one = peer(serve)
    client = OpenEClient({OepInstance.EXTERNAL: Account(one.url)}, connect_timeout=1, read_timeout=1, threads=2)
    for _ in range(3):
        assert client.add_message(build_web_message(), added=ADDED, request_id="r") == 151
        assert closed.wait(5)
        closed.clear()
    client.close()
    assert one.connections == 3


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        b"".join(b"HTTP/1.1 %d X\r\nA: b\r\n\r\n" % status for status in (100, 103, 100, 102, 199)),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * MAX_INTERIM_RESPONSES,
    ],
    ids=["100", "102", "103", "five", "many"],
)
def test_add_message_skips_interim_responses(peer, interim):
    def serve(connection, _):
        while True:
            read_request(connection)
            connection.sendall(interim + encode_response())

    one = peer(serve)
    client = OpenEClient({OepInstance.EXTERNAL: Account(one.url)}, connect_timeout=10, read_timeout=10, threads=2)
    for _ in range(2):
        assert client.add_message(build_web_message(), added=ADDED, request_id="r") == 151
    client.close()
    assert one.connections == 1


@pytest.mark.parametrize("status", [101, 103])
def test_add_message_is_unknown_without_a_final_response(peer, status):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 %d X\r\n\r\n" % status)

    with pytest.raises(OutcomeUnknown):
        send_message(peer(serve).url, connect_timeout=10, read_timeout=10)


def test_add_message_ends_endless_interim_responses(peer):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1) + encode_response())

    with pytest.raises(OutcomeUnknown):
        send_message(peer(serve).url, connect_timeout=10, read_timeout=10)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_add_message_resolves_a_host_with_a_final_dot(peer, tmp_path, scheme):
    heads, names = [], []
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.sni_callback = lambda _, shown, __: names.append(shown)

    def serve(connection, _):
        if scheme == "https":
            connection = context.wrap_socket(connection, server_side=True)
        heads.append(read_request(connection)[0].lower())
        connection.sendall(encode_response())
        connection.close()

    url = peer(serve).url.replace("http://127.0.0.1", f"{scheme}://localhost.")
    assert send_message(url, connect_timeout=10, read_timeout=10, ca=str(tmp_path / "ca.pem")) == 151
    assert "\r\nhost: localhost:" in heads[0]
    assert names == (["localhost"] if scheme == "https" else [])


def test_add_message_is_unknown_when_the_status_line_is_slow(peer):
    def serve(connection, _):
        read_request(connection)
        send_slowly(connection, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)

    assert "in time" in catch_error_within(2, OutcomeUnknown, peer(serve).url)


def test_add_message_is_unknown_when_the_body_is_slow(peer):
    def serve(connection, _):
        read_request(connection)
        head, blank, body = encode_response().partition(b"\r\n\r\n")
        connection.sendall(head + blank)
        send_slowly(connection, body)

    catch_error_within(2, OutcomeUnknown, peer(serve).url)


def test_add_message_is_unknown_after_the_read_timeout(peer):
    def serve(connection, _):
        read_request(connection)
        connection.recv(1)

    assert "in time" in catch_error_within(2, OutcomeUnknown, peer(serve).url, connect_timeout=20, read_timeout=0.2)


def test_add_message_is_unknown_when_the_body_is_never_read(peer):
    def serve(connection, _):
        connection.recv(10)
        NEVER.wait(1)

    message = build_web_message(data=bytes(20_000_000))
    assert "in time" in catch_error_within(2, OutcomeUnknown, peer(serve).url, message)


def test_add_message_is_unavailable_when_the_connection_is_refused():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        words = catch_error_within(2, BackendUnavailable, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert "accepts no connections" in words


def test_add_message_is_unavailable_when_the_name_is_unknown():
    assert "name" in catch_error_within(20, BackendUnavailable, "http://no-such-host.invalid/", connect_timeout=10)


@pytest.mark.parametrize("url", ["open-e", "ftp://open-e.test/", "http://", "http://a..b/", f"http://{'a' * 70}.test/"])
def test_add_message_is_unavailable_when_the_address_cannot_be_used(url):
    catch_error_within(5, BackendUnavailable, url)


def test_add_message_is_unavailable_when_the_peer_does_not_trust_or_speak_tls(peer):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def serve(connection, _):
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    words = catch_error_within(2, BackendUnavailable, peer(serve).url.replace("http:", "https:"), connect_timeout=2)
    assert "TLS handshake failed" in words

    def reset(connection, _):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    catch_error_within(2, BackendUnavailable, peer(reset).url.replace("http:", "https:"))


def test_add_message_is_unavailable_when_the_handshake_hangs(peer):
    url = peer(lambda connection, _: send_slowly(connection, bytes(1000))).url
    catch_error_within(2, BackendUnavailable, url.replace("http:", "https:"))
    silent = peer(lambda _connection, _: NEVER.wait(1)).url
    assert "in time" in catch_error_within(2, BackendUnavailable, silent.replace("http:", "https:"))


def test_add_message_over_tls_keeps_the_deadline(peer, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def serve(connection, _):
        with context.wrap_socket(connection, server_side=True) as secured:
            read_request(secured)
            secured.sendall(encode_response())
            read_request(secured)
            send_slowly(secured, encode_response())

    one = peer(serve)
    account = Account(one.url.replace("http:", "https:"), ca=str(tmp_path / "ca.pem"))
    client = OpenEClient({OepInstance.EXTERNAL: account}, connect_timeout=1, read_timeout=0.3, threads=1)
    assert client.add_message(build_web_message(data=bytes(500_000)), added=ADDED, request_id="r") == 151
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        client.add_message(build_web_message(), added=ADDED, request_id="r")
    assert time.monotonic() - started < 3
    client.close()
    assert one.connections == 1


def test_add_message_is_unknown_when_the_connection_is_reset_after_sending(peer):
    def serve(connection, _):
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    one = peer(serve)
    assert "lost" in catch_error_within(2, OutcomeUnknown, one.url)
    assert one.connections == 1


def test_add_message_is_unknown_when_the_connection_is_closed_without_a_response(peer):
    catch_error_within(2, OutcomeUnknown, peer(lambda connection, _: read_request(connection)).url)
