"""Framing of bodies: wrong lengths, malformed chunks, and several requests on one connection."""

import pytest

from contract_tests.attacks import (
    JSON,
    accepted_reference,
    assert_in_order,
    assert_no_http,
    assert_problem,
    assert_refused,
    assert_violations,
    chunks,
    post,
    post_in_chunks,
    request,
    text,
)
from contract_tests.raw_http import RawResponse
from contract_tests.target import CheckTarget
from contract_tests.unwanted_data import list_messages

pytestmark = pytest.mark.needs("sender")

BODY = text(message=" ")
"""If the body were accepted, the message would be rejected because it is blank."""

CHUNKED = "Transfer-Encoding: chunked"


def accepted(size: int = 1) -> tuple[bytes, dict[str, str]]:
    reference = accepted_reference()
    return text(message="x" * size, externalReferences=[reference]), reference


def answers_to(target: CheckTarget, data: bytes, count: int) -> list[RawResponse | None]:
    """Return the responses on one connection, with None after its end."""
    with target.connect() as connection:
        connection.send(data)
        return [connection.read_response() for _ in range(count)]


def assert_end(target: CheckTarget, data: bytes) -> None:
    """Assert that these bytes are no request: they get one response, and the connection is closed."""
    with target.connect() as connection:
        connection.send(data)
        if not target.is_direct:
            # A gateway may have read the announced body's beginning and wait for the rest.
            connection.end_sending()
        answer = connection.read_response()
        assert_refused(answer)
        if answer is not None:
            assert_no_http(answer)
        assert not target.is_direct or (answer is not None and connection.read_response() is None)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_of_any_size_make_a_body(size: int, target: CheckTarget) -> None:
    body, reference = accepted()
    answer = target.send(post(chunks(body, size), headers=[CHUNKED]))
    assert answer.status == 201
    assert len(list_messages(target, **reference)) == 1


@pytest.mark.parametrize("header", ["transfer-encoding: CHUNKED", "Transfer-Encoding:chunked"])
def test_chunks_are_announced_in_any_case(header: str, target: CheckTarget) -> None:
    assert target.send(post(chunks(accepted()[0]), headers=[header])).status == 201


def test_chunks_with_extensions_and_trailers_make_a_body(target: CheckTarget) -> None:
    body, _ = accepted()
    framed = b'%x;name="value"\r\n%s\r\n0\r\nX-Trailer: x\r\n\r\n' % (len(body), body)
    assert target.send(post(framed, headers=[CHUNKED])).status == 201


def test_body_in_chunks_is_validated(target: CheckTarget) -> None:
    assert_violations(target.send(post_in_chunks(BODY)), "message")


@pytest.mark.parametrize("body", [chunks(b""), b"0" * 10_000 + b"\r\n\r\n"], ids=["none", "long zero"])
def test_no_chunks_are_an_empty_body(body: bytes, target: CheckTarget) -> None:
    assert_violations(target.send(post(body, headers=[CHUNKED])), "body")


@pytest.mark.parametrize(
    "framed",
    [
        b"zz\r\nab\r\n0\r\n\r\n",
        b"-1\r\nab\r\n0\r\n\r\n",
        b"+5\r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"5 \r\nabcde\r\n0\r\n\r\n",
        b"3\r\nabcde\r\n0\r\n\r\n",
        b"5\nabcde\n0\n\n",
        b"\r\nabcde",
        b"f" * 17 + b"\r\nab",
    ],
)
def test_invalid_chunks_end_the_connection(framed: bytes, target: CheckTarget) -> None:
    assert_end(target, post(framed, headers=[CHUNKED]))


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length: 1_0"],
        ["Content-Length: five"],
        ["Content-Length: "],
        ["Content-Length: 8 2"],
        ["Content-Length: 5, 5"],
        [b"Content-Length: \xef\xbc\x95"],
        ["Content-Length: " + "9" * 5000],
        ["Content-Length: 18446744073709551616"],
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", CHUNKED],
        [CHUNKED, "Content-Length: 5"],
        [CHUNKED, CHUNKED],
        ["Transfer-Encoding: chunked, gzip"],
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_contradicting_frames_end_the_connection(headers: list[str | bytes], target: CheckTarget) -> None:
    assert_end(target, post(chunks(BODY), headers=headers))


@pytest.mark.own
@pytest.mark.parametrize(
    "coding", ["xchunked", "identity", "gzip, chunked", "GZIP,chunked", "gzip", "deflate, chunked"]
)
def test_transfer_coding_that_is_not_supported_ends_the_connection(coding: str, target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(post(chunks(BODY), headers=[f"Transfer-Encoding: {coding}"]))
        assert_no_http(connection.read_response(), 501)
        assert connection.read_response() is None


@pytest.mark.own
def test_transfer_coding_is_rejected_in_http_1_0(target: CheckTarget) -> None:
    data = post(chunks(BODY), headers=[CHUNKED]).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    assert_no_http(target.send(data))


def test_length_that_is_too_short_cuts_the_body(target: CheckTarget) -> None:
    """The rest is no request, so the connection is closed. The order of the two 400s does not matter."""
    body = text()
    answer = target.send(post(body, headers=[f"Content-Length: {len(body) - 5}"]))
    assert_refused(answer)
    assert not answer.is_direct or answer.status == 400


@pytest.mark.parametrize("headers", [["Content-Length: 10000"], [CHUNKED]])
@pytest.mark.parametrize("content_type", [JSON, "multipart/form-data; boundary=XX"])
def test_body_that_ends_too_early_is_not_accepted(headers: list[str], content_type: str, target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(post(text(), content_type, headers=headers))
        connection.end_sending()
        answer = connection.read_response()
    assert_refused(answer)
    assert answer is None or not target.is_direct or answer.status == 400


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_request_that_is_truncated_anywhere_is_not_accepted(share: float, target: CheckTarget) -> None:
    data = target.fill(post(text()))
    with target.connect() as connection:
        connection.send(data[: int(len(data) * share)])


def test_accepted_message_is_stored(target: CheckTarget) -> None:
    body, reference = accepted()
    with target.connect() as connection:
        connection.send(post(body))
        connection.read_response()
    assert len(list_messages(target, **reference)) == 1


def test_pipelined_requests_are_answered_in_order(target: CheckTarget) -> None:
    body, _ = accepted()
    data = post(body) + post(BODY) + request() + request(target="/nothing") + post(b"{}", key=None) + post(body)
    assert_in_order(answers_to(target, data, 6), 201, 400, 200, 404, 401, 201)


def test_hundred_pipelined_requests_are_answered(target: CheckTarget) -> None:
    assert_in_order(answers_to(target, request() * 100, 100), *[200] * 100)


def test_requests_after_connection_close_are_not_accepted(target: CheckTarget) -> None:
    answer, nothing = answers_to(target, request(headers=["Connection: close"]) + post(text()), 2)
    assert answer is not None
    # Some parsers read ahead before the first response and reject everything.
    assert answer.status == 200 or (answer.status == 400 and not target.is_direct)
    assert nothing is None


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n\r\n"])
def test_line_breaks_after_a_body_are_harmless(rest: bytes, target: CheckTarget) -> None:
    assert_in_order(answers_to(target, post(accepted()[0]) + rest + request(), 2), 201, 200)


@pytest.mark.parametrize("rest", [b"}", b" ", b"\0", b"GARBAGE\r\n\r\n", b"more bytes than were announced"])
def test_accepted_message_gets_201_before_invalid_bytes(rest: bytes, target: CheckTarget) -> None:
    """A parser that reads ahead before it responds may also reject everything."""
    body, reference = accepted()
    answer = target.send(post(body) + rest)
    found = len(list_messages(target, **reference))
    assert (answer.status, found) == (201, 1) or (not target.is_direct and answer.status == 400 and found <= 1)


def test_expect_header_is_answered_with_100_continue(target: CheckTarget) -> None:
    body, _ = accepted()
    with target.connect() as connection:
        connection.send(post(b"", headers=[f"Content-Length: {len(body)}", "Expect: 100-continue"]))
        interim = connection.read_response()
        connection.send(body)
        final = connection.read_response()
    assert [answer.status for answer in (interim, final) if answer] == [100, 201]


def test_caller_without_a_key_gets_no_100_continue(target: CheckTarget) -> None:
    data = post(b"", headers=["Content-Length: 1000", "Expect: 100-continue"], key=None)
    with target.connect() as connection:
        connection.send(data)
        answer = connection.read_response()
        if answer is not None and answer.status == 100 and not answer.is_direct:
            # A gateway that buffers whole bodies sends 100 Continue before it contacts the service.
            connection.send(b" " * 1000)
            answer = connection.read_response()
    assert_refused(answer)
    if answer is not None:
        assert_problem(answer, 401)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_upgrade_header_is_ignored_and_the_body_accepted(upgrade: str, in_chunks: bool, target: CheckTarget) -> None:
    """Java's HttpClient offers HTTP/2 with every request by default."""
    body, reference = accepted()
    offer = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA"]
    data = post(chunks(body), headers=[*offer, CHUNKED]) if in_chunks else post(body, headers=offer)

    assert_in_order(answers_to(target, data + request(), 2), 201, 200)
    assert len(list_messages(target, **reference)) == 1


def test_upgrade_header_is_ignored_in_any_request_of_a_connection(target: CheckTarget) -> None:
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"]
    data = [post(accepted()[0], headers=offer) for _ in range(3)]
    assert_in_order(answers_to(target, b"".join([*data, request()]), 4), 201, 201, 201, 200)


@pytest.mark.parametrize("shift", [-3, -2, -1, 0, 1, 4, 7, 8, 12])
def test_upgrade_header_is_ignored_when_it_spans_two_packets(shift: int, target: CheckTarget) -> None:
    body, _ = accepted()
    data = target.fill(post(body, headers=["Connection: upgrade", "Upgrade: h2c", "HTTP2-Settings: x"]))
    cut = data.index(b"Upgrade: ") + shift
    with target.connect() as connection:
        connection.send(data[:cut])
        # The response to this request shows that the service has read the preceding bytes.
        assert target.send(request()).status == 200
        connection.send(data[cut:])
        answer = connection.read_response()
    assert answer is not None
    assert answer.status == 201


def test_upgrade_header_does_not_close_the_connection(target: CheckTarget) -> None:
    offer = request(headers=["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"])
    assert_in_order(answers_to(target, offer + offer, 2), 200, 200)
