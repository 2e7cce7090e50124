import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
import responses

from domain.errors import BackendRefused, NotFound, OutcomeUnknown
from domain.web_messages import OepInstance
from mock_open_e import FAULT_NAMES, mock_open_e
from open_e.accounts import Account
from open_e.client import OpenEClient
from tests.open_e.peers import (
    ADDED,
    PUBLISHED,
    build_web_message,
    catch_error_within,
    encode_response,
    read_request,
    send_message,
    serve_responses,
)


def test_add_message_sends_the_headers_and_the_exact_length(peer):
    heads = []

    def serve(connection, _):
        heads.append(read_request(connection)[0].lower())
        connection.sendall(encode_response())

    assert send_message(peer(serve).url, username="oep.user", password="hemligt å") == 151
    lines = heads[0].split("\r\n")
    assert lines[0] == "post /api/callback http/1.1"
    assert "content-type: text/xml; charset=utf-8" in lines
    assert "accept: text/xml; charset=utf-8" in lines
    assert "x-request-id: request-1" in lines
    assert "accept-encoding: identity" in lines
    assert "authorization: basic b2vwlnvzzxi6agvtbglndcddpq==" in lines
    assert "transfer-encoding" not in heads[0]
    assert "soapaction" not in heads[0]


def test_add_message_works_from_many_threads(peer):
    one = peer(serve_responses())
    client = OpenEClient({OepInstance.EXTERNAL: Account(one.url)}, connect_timeout=5, read_timeout=5, threads=8)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: client.add_message(build_web_message(), added=ADDED, request_id="r"), range(40)))
    client.close()
    assert ids == [151] * 40
    assert one.connections <= 8


def test_add_message_does_not_follow_a_redirect(peer):
    one = peer(serve_responses(b"x" * 5_000_000, "302 Found", "Location: /login?redirect=\r\n"))
    assert "302" in catch_error_within(2, BackendRefused, one.url)
    assert one.connections == 1


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "415 Unsupported"])
def test_add_message_is_refused_by_a_4xx(peer, status):
    assert status[:3] in catch_error_within(2, BackendRefused, peer(serve_responses(b"no", status)).url)


def test_add_message_is_refused_when_the_body_of_a_4xx_never_arrives(peer):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nUn")
        connection.recv(1)

    catch_error_within(2, BackendRefused, peer(serve).url)


def test_add_message_is_refused_by_an_early_401_that_leaves_the_body_unread(peer):
    def serve(connection, _):
        connection.recv(1000)
        connection.sendall(encode_response(b"no", "401 Unauthorized", "Connection: close\r\n"))

    catch_error_within(
        5, BackendRefused, peer(serve).url, build_web_message(data=bytes(20_000_000)), connect_timeout=2, read_timeout=2
    )


@pytest.mark.parametrize(
    "served",
    [
        encode_response(b"oops", "500 Internal Server Error"),
        encode_response(b"oops", "503 Service Unavailable"),
        encode_response(b"This is not XML"),
        encode_response(b""),
        encode_response(PUBLISHED[:-1]),
        encode_response(PUBLISHED)[:-1],
        encode_response(PUBLISHED, "500 Internal Server Error"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<S:E\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_add_message_is_unknown_after_an_ambiguous_response(peer, served):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(served)

    catch_error_within(2, OutcomeUnknown, peer(serve).url)


def test_add_message_decompresses_a_response(peer):
    one = peer(serve_responses(gzip.compress(PUBLISHED), headers="Content-Encoding: gzip\r\n"))
    assert send_message(one.url) == 151


def test_add_message_does_not_decompress_a_bomb(peer):
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb") as packed:
        for _ in range(200):
            packed.write(bytes(1_000_000))
    one = peer(serve_responses(bomb.getvalue(), headers="Content-Encoding: gzip\r\n"))
    catch_error_within(2, OutcomeUnknown, one.url, read_timeout=2)


def test_add_message_does_not_read_a_huge_response(peer):
    def serve(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PUBLISHED)
        while True:
            connection.sendall(b" " * 1_000_000)

    catch_error_within(5, OutcomeUnknown, peer(serve).url, read_timeout=5)


def test_add_message_is_refused_without_an_address():
    client = OpenEClient({}, connect_timeout=1, read_timeout=1, threads=1)
    with pytest.raises(BackendRefused, match="internal"):
        client.add_message(build_web_message(instance=OepInstance.INTERNAL), added=ADDED, request_id="r")


def test_add_message_requires_a_case():
    with pytest.raises(ValueError, match="case"):
        send_message("http://open-e.test/", build_web_message(case=None))


def test_account_repr_hides_its_password():
    assert "hemligt" not in repr(Account("http://open-e.test/", "user", "hemligt"))


@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_add_message_under_responses_has_the_same_outcomes(fault):
    outcomes = {
        "FlowInstanceNotFound": NotFound,
        "Http200Fault": NotFound,
        **dict.fromkeys(("AccessDenied", "Http401", "Http403", "Http404"), BackendRefused),
    }
    url = "http://open-e.test/external/api/callback"
    with mock_open_e(username="u", password="p") as open_e:
        open_e.fail(fault, seconds=40)
        # Bytes that keep arriving are no failure where nothing waits for them.
        failure = nullcontext() if fault == "SlowBytes" else pytest.raises(outcomes.get(fault, OutcomeUnknown))
        with failure:
            send_message(url, username="u", password="p")
        assert send_message(url, username="u", password="p") == len(open_e.messages)
        with pytest.raises(BackendRefused, match="401"):
            send_message(url, username="u", password="wrong")


def test_add_message_is_unknown_at_an_address_that_responses_does_not_know():
    with responses.RequestsMock(), pytest.raises(OutcomeUnknown):
        send_message("http://other.test/")


def test_add_message_forwards_the_trace(peer):
    heads = []

    def serve(connection, _):
        for _ in range(2):
            heads.append(read_request(connection)[0].lower().split("\r\n"))
            connection.sendall(encode_response())

    client = OpenEClient({OepInstance.EXTERNAL: Account(peer(serve).url)}, connect_timeout=5, read_timeout=5, threads=2)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    client.add_message(build_web_message(), added=ADDED, request_id="r", trace_parent=trace)
    client.add_message(build_web_message(), added=ADDED, request_id="r")
    client.close()
    assert f"traceparent: {trace}" in heads[0]
    assert not any(line.startswith("traceparent") for line in heads[1])


@pytest.mark.parametrize("citizen", [b"180101300101", b"18010130-0101", b"010130-0101", b"0101300101", b"010130+0101"])
def test_add_message_removes_the_citizen_from_the_text_of_a_fault(peer, citizen):
    fault = (
        b'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><S:Fault>'
        b"<faultcode>S:Client</faultcode><faultstring>No user " + citizen + b" here</faultstring>"
        b"</S:Fault></S:Body></S:Envelope>"
    )
    message = replace(build_web_message(), is_from_owner=True, sender_user_id=None, citizen_id="180101300101")
    with pytest.raises(BackendRefused, match="No user … here"):
        send_message(peer(serve_responses(fault, "500 Oops")).url, message)
    assert "180101300101" not in repr(message)
